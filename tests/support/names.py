"""Engines for a resolver that look nothing up."""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred, succeed

from tcpbalance.net.resolver.answer import Host, Reply


def hosts(*addresses: str) -> tuple[Host, ...]:
    """Give addresses in the resolver's form."""
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return tuple(Host(families[":" in address], address) for address in addresses)


def found(*addresses: str, ttl: float = 60.0) -> Reply:
    """Give the reply that a name has these addresses, in the order of preference."""
    return Reply.of_hosts(hosts(*addresses), ttl)


class FixedEngine:
    """Answers every question at once with the same.

    :ivar reply: the answer.
    :ivar asked: the names that were asked for.
    """

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[str] = []

    def ask(self, host: str) -> Deferred[Reply]:
        """See ``resolver.Engine``."""
        self.asked.append(host)
        return succeed(self.reply)

    def stop(self) -> None:
        """See ``resolver.Engine``."""


class OpenEngine:
    """Keeps questions open until the test answers them.

    :ivar asked: the names that were asked for.
    :ivar open: the questions without an answer.
    :ivar stopped: how often it was stopped.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open: list[Deferred[Reply]] = []
        self.stopped = 0

    def ask(self, host: str) -> Deferred[Reply]:
        """See ``resolver.Engine``."""
        self.asked.append(host)
        question: Deferred[Reply] = Deferred()
        self.open.append(question)
        return question

    def stop(self) -> None:
        """See ``resolver.Engine``."""
        self.stopped += 1

    def answer(self, reply: Reply) -> None:
        """Answer all that is open."""
        questions, self.open = self.open, []
        for question in questions:
            question.callback(reply)
