"""The nursery: a process that has imported all that a worker needs, and forks workers on request.

It has no reactor and no thread, which a fork would not survive. What only some configurations need, it
imports when the first worker of such a configuration is asked for. A worker is there within milliseconds, and
shares the memory of what was imported with all others. Its parent is the supervisor, which adopts orphans
(``PR_SET_CHILD_SUBREAPER``, prctl(2)), and so learns how it has ended.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from tcpbalance.overload.gauges import trim_memory
from tcpbalance.workers import messages
from tcpbalance.workers.lean_imports import lean_imports
from tcpbalance.workers.messages import Message

Main = Callable[[Message], None]
"""What a worker is: it gets the message by which it was asked for, with descriptors of its own."""

_FAILED = 70
"""The status of a worker that an exception has ended: ``EX_SOFTWARE``, sysexits.h(3head)."""

_MAX_REASON = 1000
"""Characters of the reason why nothing can be forked."""


def serve(sock: socket.socket, main: Main) -> None:
    """Fork a worker for each message until there will be no more.

    Each is answered with its ``pid`` and a descriptor of the process, or with an ``error``. What it says that
    it ``imports`` is imported before, so that all workers share it.
    """
    while True:
        request = messages.receive(sock)
        if request is None:
            return
        try:
            answer(sock, request, main)
        finally:
            request.close()


def answer(sock: socket.socket, request: Message, main: Main) -> None:
    """Fork a worker for one message, and say what has come of it."""
    pid = 0
    try:
        _import_more(request.content.get("imports", ()))
    except Exception as error:
        messages.send(sock, {"error": f"{type(error).__name__}: {error}"[:_MAX_REASON]})
        return
    try:
        pid = _fork_orphan(sock, request, main)
        process = os.pidfd_open(pid)
    except OSError as error:
        if pid:
            # It would not be watched.
            os.kill(pid, signal.SIGKILL)
        messages.send(sock, {"error": error.strerror or str(error)})
        return
    try:
        messages.send(sock, {"pid": pid}, [process])
    finally:
        os.close(process)


def _fork_orphan(sock: socket.socket, request: Message, main: Main) -> int:
    """Fork twice, so that the worker is no child of the nursery.

    :returns: its process id.
    :raises OSError: the system has no more processes, memory or descriptors.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as reports:
        try:
            between = os.fork()
            if not between:
                _in_between(sock, request, main, writer)
        finally:
            os.close(writer)
        answer = reports.read()
    os.waitpid(between, 0)
    number = int(answer or b"0")
    if number <= 0:
        raise OSError(-number, os.strerror(-number) if number else "the process in between has ended")
    return number


def _in_between(sock: socket.socket, request: Message, main: Main, writer: int) -> None:
    """Fork the worker, say what has come of it, and end."""
    with suppress(BaseException):
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 0)
        if not pid:
            os.close(writer)
            sock.close()
            _be(main, request)
        os.write(writer, b"%d" % pid)
    os._exit(0)


def _be(main: Main, request: Message) -> None:
    """Be the worker."""
    status = _FAILED
    try:
        # What the nursery has drawn, or would draw, is not to be the same in all workers.
        random.seed()
        gc.enable()
        main(request)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _import_main(module: str) -> Main:
    """Import what a worker is, and all that it needs."""
    with lean_imports():
        main: Main = importlib.import_module(module).main
    return main


def _import_more(modules: Iterable[str]) -> None:
    """Import what a configuration needs besides."""
    missing = [module for module in modules if module not in sys.modules]
    if missing:
        with lean_imports():
            for module in missing:
                importlib.import_module(module)
        _share_memory()


def _share_memory() -> None:
    """Have workers share as many pages as possible, and as few as are needed.

    Pages that the collector writes to are no longer shared: gc.freeze of the manual. Imports leave cycles
    behind, such as each class that attrs has replaced.
    """
    gc.collect()
    gc.disable()
    gc.freeze()
    trim_memory()


def run(descriptor: int, module: str) -> None:
    """Be a nursery.

    :param descriptor: of the socket by which it is asked; see ``messages``.
    :param module: imported before the first worker is forked; its ``main`` is what a worker is.
    """
    # Signals to the whole group, such as Ctrl-C, are the supervisor's: the end of the socket is the end here.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # In a session of their own, orphans among them are known as such: see ``orphans.OrphanReaper``.
    with suppress(PermissionError):
        os.setsid()
    with socket.socket(fileno=descriptor) as sock:
        try:
            main = _import_main(module)
        except BaseException as error:
            messages.send(sock, {"failed": f"{type(error).__name__}: {error}"[:_MAX_REASON]})
            raise
        _share_memory()
        with suppress(BrokenPipeError):  # The supervisor has ended, or needs it no more.
            messages.send(sock, {"ready": True})
            serve(sock, main)


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2])
