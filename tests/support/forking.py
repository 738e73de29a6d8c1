"""A program that has imported what balancers import, which is nine tenths of their start, and forks them.

What it forks runs a script of Python with the arguments, variables, folder and output that were asked for,
and ends as Python does. It does not know the command by which it could be started again.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from typing import Any

# None of them installs a reactor, which has descriptors of its own.
IMPORTED = (
    "twisted.scripts.twistd",
    "twisted.scripts._twistd_unix",
    "twisted.internet.epollreactor",
    "tcpbalance.daemon",
    "tcpbalance.workers.supervisor",
    "tcpbalance.control.admin_http",
)

MAX_REQUEST = 1 << 16
_PR_SET_PDEATHSIG = 1


def serve(sock: socket.socket) -> None:
    """Fork for each request until there will be no more, and answer with the number of the process.

    It forks twice: when the process in between has ended, the one that asks adopts the other one.
    """
    while True:
        request, descriptors, _, _ = socket.recv_fds(sock, MAX_REQUEST, 1)
        if not request:
            return
        reader, writer = os.pipe()
        waits, goes_on = os.pipe()
        between = os.fork()
        if not between:
            if pid := os.fork():
                os.write(writer, b"%d" % pid)
                os._exit(0)
            os.close(goes_on)
            # Until it is adopted: the end of the one in between is not to be taken for that of its parent.
            os.read(waits, 1)
            for number in (reader, writer, waits, sock.detach()):
                os.close(number)
            _become(json.loads(request), *descriptors)
            return
        os.waitpid(between, 0)
        sock.send(os.read(reader, 20))
        for number in (reader, writer, waits, goes_on, *descriptors):
            os.close(number)


def _become(request: dict[str, Any], output: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    script, *arguments = request["command"]
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
