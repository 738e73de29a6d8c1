"""Asks the system's resolver, off the reactor's thread."""

from __future__ import annotations

import contextlib
import errno
import socket
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tcpbalance.net.errnos import OUT_OF_DESCRIPTORS
from tcpbalance.net.resolver.answer import Host, Reply, Verdict

MAX_LOOKUPS = 64
"""Names that are looked up at one time.

One whose name server does not answer holds a thread for as long as the system tries: 10 s for each server,
as resolv.conf(5) has it. So as many may hang before others have to wait; a pool seldom has more. Each lookup
takes descriptors, two at worst, and a thread that waits 50 KiB of memory: more would cost more than it helps.
"""

TTL = 10.0
"""Seconds that an answer is kept: the system does not say how long it is valid."""

_VERDICTS_OF_SYSTEM = {
    socket.EAI_NONAME: Verdict.NO_SUCH_NAME,
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): Verdict.NO_ADDRESS,
    getattr(socket, "EAI_ADDRFAMILY", socket.EAI_NONAME): Verdict.NO_ADDRESS,
    # The system says the same for silence and for a failure: gai_strerror(3), "Temporary failure".
    socket.EAI_AGAIN: Verdict.SERVER_FAILURE,
    socket.EAI_FAIL: Verdict.SERVER_FAILURE,
    socket.EAI_MEMORY: Verdict.NO_MEMORY,
}


class SystemEngine:
    """Looks names up in threads. See ``resolver.Engine``.

    The threads are not the reactor's, which it waits for when it ends: a lookup can take longer than a
    shutdown may, and cannot be cancelled. Ours are not waited for. They stay, since starting one for each
    lookup takes four times as long, until the engine is stopped.

    :param reactor: gets the answers (IReactorFromThreads).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._threads = _Threads(reactor)

    def ask(self, host: str) -> Deferred[Reply]:
        """See ``resolver.Engine``."""
        return self._threads.ask(host)

    def stop(self) -> None:
        """See ``resolver.Engine``; a thread whose lookup hangs ends when that does."""
        self._threads.stop()
        self._threads = _Threads(self._reactor)


class _Threads:
    """The threads of one engine from its start to its stop, and the questions that wait for them."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._questions: SimpleQueue[tuple[str, Deferred[Reply]] | None] = SimpleQueue()
        self._count = 0
        self._under_way = 0

    def ask(self, host: str) -> Deferred[Reply]:
        self._have_a_thread()
        if not self._count:
            return succeed(Reply.failed(Verdict.NO_MEMORY))
        self._under_way += 1
        question: Deferred[Reply] = Deferred()
        self._questions.put((host, question))
        return question

    def stop(self) -> None:
        """Drop the questions that wait, and let each thread end after the one it is at."""
        with contextlib.suppress(Empty):
            while True:
                self._questions.get_nowait()
        for _ in range(self._count):
            self._questions.put(None)

    def _have_a_thread(self) -> None:
        """Start one more unless one is free, or there are enough."""
        if self._under_way >= self._count < MAX_LOOKUPS:
            # Without resources for more threads, the existing ones have to do.
            with contextlib.suppress(RuntimeError):
                Thread(target=self._answer_questions, name="names", daemon=True).start()
                self._count += 1

    def _answer_questions(self) -> None:
        while (taken := self._questions.get()) is not None:
            host, question = taken
            reply = _look_up(host)
            # A reactor that has ended in the meantime may say so; nothing waits for the answer any more.
            with contextlib.suppress(RuntimeError):
                self._reactor.callFromThread(self._take, question, reply)

    def _take(self, question: Deferred[Reply], reply: Reply) -> None:
        self._under_way -= 1
        question.callback(reply)


def _look_up(host: str) -> Reply:
    try:
        found = socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Reply.failed(_VERDICTS_OF_SYSTEM.get(error.errno or 0, Verdict.UNKNOWN))
    except OSError as error:
        return Reply.failed(_shortage(error.errno))
    except ValueError:  # UnicodeError among them: not a name
        return Reply.failed(Verdict.BAD_NAME)
    hosts = [Host(int(family), str(address[0]), *address[3:]) for family, _, _, _, address in found]
    return Reply.of_hosts(tuple(dict.fromkeys(hosts)), TTL) if hosts else Reply.failed(Verdict.NO_ADDRESS)


def _shortage(code: int | None) -> Verdict:
    if code in OUT_OF_DESCRIPTORS:
        return Verdict.NO_DESCRIPTOR
    return Verdict.NO_MEMORY if code in (errno.ENOMEM, errno.ENOBUFS) else Verdict.UNKNOWN
