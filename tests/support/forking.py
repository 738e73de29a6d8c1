"""A program that has imported what others import, which is nine tenths of their start, and forks them.

What it forks runs a script or module of Python with the arguments, variables, folder and descriptors that
were asked for, and ends as Python does. It does not know the command by which it could be started again.

Its own arguments are the descriptor of a socket, and the modules to import. None of these may install a
reactor, which has descriptors of its own.
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

MAX_REQUEST = 1 << 16
MAX_DESCRIPTORS = 3
_PR_SET_PDEATHSIG = 1


def serve(sock: socket.socket) -> None:
    """Fork for each request until there will be no more, and answer with the number of the process.

    It forks twice: when the process in between has ended, the one that asks adopts the other one.
    """
    while True:
        request, descriptors, _, _ = socket.recv_fds(sock, MAX_REQUEST, MAX_DESCRIPTORS)
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
            _become(json.loads(request), descriptors)
            return
        os.waitpid(between, 0)
        sock.send(os.read(reader, 20))
        for number in (reader, writer, waits, goes_on, *descriptors):
            os.close(number)


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Both ascend, and the first is above 2: none is overwritten before it is copied.
    for number, wanted in zip(descriptors, request["descriptors"], strict=True):
        os.dup2(number, wanted)
    for number in {*descriptors} - {*request["descriptors"]}:
        os.close(number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *arguments = request["command"]
    if first == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *arguments]
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    descriptor, *modules = sys.argv[1:]
    for name in modules:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(descriptor)))
