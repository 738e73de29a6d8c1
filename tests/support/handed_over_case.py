"""Workers behind proxies: clients that PROXY headers name, and connections that go to their workers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor

from support.sockets import heard, until
from support.supervised import SupervisedCase
from tcpbalance.config.models import Config
from tcpbalance.config.pools import PoolConfig
from tcpbalance.wire.proxy_protocol import InetAddress, encode_v1, encode_v2
from tcpbalance.workers.owner import owner
from tcpbalance.workers.supervisor import Supervisor

reactor: Any = global_reactor

PROXY = "127.0.0.1"
WORKERS = 4


def header_of(client: str, port: int = 40000, version: int = 2) -> bytes:
    """The header by which a proxy names a client."""
    service = InetAddress("2001:db8::1" if ":" in client else "192.0.2.1", 443)
    encode = encode_v1 if version == 1 else encode_v2
    return encode(InetAddress(client, port), service)


def client_of(place: int, workers: int = WORKERS) -> str:
    """A client that belongs to a place."""
    addresses = (f"203.0.113.{last}" for last in range(256))
    return next(it for it in addresses if owner(socket.inet_aton(it), workers) == place)


class HandedOverCase(SupervisedCase):
    """A supervisor with several workers before a server that answers."""

    workers = WORKERS

    def behind_proxies(self, **keys: Any) -> Config:
        """A configuration whose one frontend takes PROXY headers from `PROXY`."""
        # On a busy machine, a rolling restart takes longer than a header may by default.
        return self.config({"web": {"accept_proxy_protocol": [PROXY], "preread_timeout": 60.0, **keys}})

    def config(self, frontends: dict[str, Any] | None = None, /, **pools: PoolConfig) -> Config:
        """See ``SupervisedCase``."""
        # Workers that a test has stopped are not to be replaced.
        return evolve(super().config(frontends, **pools), worker_timeout=120.0)

    def is_anything_unaccepted(self, supervisor: Supervisor) -> bool:
        """Whether a client waits in a listening socket."""
        return any(map(_waiting_in, self.group(supervisor)._sockets))

    def proxied(self, supervisor: Supervisor, first: bytes) -> socket.socket:
        """A connection from `PROXY`, on which something is sent at once."""
        return self.connected(supervisor, PROXY, first=first)

    async def answers(self, clients: Iterable[socket.socket]) -> Counter[str]:
        """What the clients hear first, each a word: an answer, ``end`` or ``reset``."""
        silent, words = list(clients), Counter[str]()

        def hear() -> bool:
            for client in list(silent):
                word = heard(client)
                if word:
                    words[word] += 1
                    silent.remove(client)
            return not silent

        await until(reactor, hear, 20)
        return words

    async def pid(self, supervisor: Supervisor, place: int) -> int:
        """The process of a place, once it serves."""
        await until(reactor, lambda: supervisor._places[place].is_serving)
        process = supervisor._places[place].process
        assert process is not None
        assert process.pid
        return process.pid

    async def kill(self, supervisor: Supervisor, place: int) -> int:
        """End a worker, and wait until the supervisor has noticed it."""
        pid = await self.pid(supervisor, place)
        os.kill(pid, signal.SIGKILL)
        await until(reactor, lambda: all(process.pid != pid for process in supervisor._processes()))
        return pid

    async def stop(self, supervisor: Supervisor, place: int) -> int:
        """Stop a worker until it is continued or killed."""
        pid = await self.pid(supervisor, place)
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(_go_on, pid)
        return pid


def _waiting_in(listening: socket.socket) -> int:
    # Of a socket that listens, ``tcpi_unacked`` is the length of its queue.
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
    return int.from_bytes(info[24:28], sys.byteorder)


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def ask_over_tls(address: Any, first: bytes, root: Path, kept: list[socket.socket]) -> bytes:
    """Say something over TLS, and give the answer.

    :param first: what comes before the ClientHello, in the same segment.
    :param kept: gets the connection, which stays open.
    :returns: empty where the connection is reset.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(root))
    client = context.wrap_bio(incoming, outgoing, server_hostname="web.example")
    sock = socket.create_connection(address, timeout=20)
    kept.append(sock)
    outgoing.write(first)

    def go_on(step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(1 << 16) or b"no TLS")
            finally:
                sock.sendall(outgoing.read())

    try:
        go_on(client.do_handshake)
        go_on(lambda: client.write(b"?"))
        answer: bytes = go_on(lambda: client.read(1))
    except (ssl.SSLError, ConnectionError):
        return b""
    return answer
