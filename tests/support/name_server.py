"""A name server of our own on 127.0.0.1, in threads: what it answers, and whether, is up to the test."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from twisted.names import dns

SERVER_FAILURE = dns.ESERVER
NO_SUCH_NAME = dns.ENAME
REFUSED = dns.EREFUSED

TYPES = {dns.A: "A", dns.AAAA: "AAAA"}


class FakeNameServer:
    """Answers over UDP from `open` to `close`.

    :param host: where it listens.
    :param port: 0 for a free one.
    :ivar addresses: what each name has; one that is not here does not exist.
    :ivar aliases: names that are CNAMEs of others, each with the name and the TTL of that record.
    :ivar failures: the response code for a name, or for a name and a type such as ``("db.test", "AAAA")``.
    :ivar ttl: of the addresses, in seconds.
    :ivar is_mute: whether it hears questions and does not answer.
    :ivar delay: seconds that each answer takes.
    :ivar asked: the name and the type of every question.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self.addresses: dict[str, list[str]] = {}
        self.aliases: dict[str, tuple[str, int]] = {}
        self.failures: dict[str | tuple[str, str], int] = {}
        self.ttl = 60
        self.is_mute = False
        self.delay = 0.0
        self.asked: list[tuple[str, str]] = []
        self._socket: socket.socket | None = None
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def open(self) -> Self:
        """Begin to answer, on the port that it had before."""
        self._closed.clear()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, self.port))
        self.port = self._socket.getsockname()[1]
        self._start(self._serve, self._socket)
        return self

    def close(self) -> None:
        """Close the port: the kernel tells whoever asks that nobody is there."""
        self._closed.set()
        if self._socket is not None:
            self._socket.sendto(b"", (self.host, self.port))  # wakes the thread
            for thread in self._threads:
                thread.join(10)
            self._threads.clear()
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """As the configuration has it."""
        return f"{self.host}:{self.port}"

    def _start(self, call: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=call, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, sock: socket.socket) -> None:
        while not self._closed.is_set():
            data, peer = sock.recvfrom(4096)
            if data and self.delay:
                self._start(self._answer, sock, data, peer)
            elif data:
                self._answer(sock, data, peer)

    def _answer(self, sock: socket.socket, data: bytes, peer: Any) -> None:
        question = dns.Message()
        question.fromStr(data)
        query = question.queries[0]
        name, kind = query.name.name.decode().lower(), TYPES.get(query.type, str(query.type))
        self.asked.append((name, kind))
        if self.is_mute or self._closed.wait(self.delay):
            return
        reply = dns.Message(question.id, answer=1, recDes=1, recAv=1)
        reply.queries = question.queries
        reply.rCode = self.failures.get((name, kind), self.failures.get(name, dns.OK))
        if reply.rCode == dns.OK:
            self._fill(reply, name, query.type)
        with contextlib.suppress(OSError):
            sock.sendto(reply.toStr(), peer)

    def _fill(self, reply: dns.Message, name: str, kind: int) -> None:
        if name in self.aliases:
            target, ttl = self.aliases[name]
            reply.answers.append(
                dns.RRHeader(name, dns.CNAME, ttl=ttl, payload=dns.Record_CNAME(target, ttl))
            )
            name = target
        if name not in self.addresses:
            reply.rCode = dns.ENAME
        for address in self.addresses.get(name, ()):
            if kind == (dns.AAAA if ":" in address else dns.A):
                record = dns.Record_AAAA(address) if ":" in address else dns.Record_A(address)
                reply.answers.append(dns.RRHeader(name, kind, ttl=self.ttl, payload=record))
