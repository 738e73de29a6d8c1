"""What a connection costs, counted: the byte codes and the calls of functions of the package, which are the
same in every run, however busy the machine."""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

from OpenSSL import SSL

import tcpbalance
from support.certificates import Authority
from support.memory_kernel import MemoryKernel
from support.records import HANDSHAKE, USUAL, USUAL_REQUEST, record
from support.tls_lines import client_context, client_in_memory, frontend_tls, to_send
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.http.factory import HttpFrontendFactory
from tcpbalance.http.routes import Route, Routes
from tcpbalance.http.settings import HttpSettings
from tcpbalance.logs.combined import combined_line
from tcpbalance.logs.log_format import json_line, text_line
from tcpbalance.net import socket_connector, socket_transport
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.wire.proxy_protocol import InetAddress, encode_v2

OURS = (f"{tcpbalance.__path__[0]}/", "<attrs generated methods tcpbalance.")
"""How the names of our files begin, and of what attrs writes for our classes."""

IN_PLACE = {"<listcomp>", "<dictcomp>", "<setcomp>"}
"""Functions in CPython 3.11, and parts of the function around them from 3.12 on."""

HAS_BYTE_CODES = sys.version_info[:2] == (3, 11)
"""Whether all byte codes can be counted: ``sys.settrace`` is not told of each from 3.12 on, and later
versions have others."""

WARM_UP = 3
"""Connections that fill the caches first."""

CLIENTS = "198.51.100.0/24"
HEADER = encode_v2(InetAddress("203.0.113.9", 51111), InetAddress("192.0.2.1", 443))
USUAL_TLS = record(server_name=HANDSHAKE.server_name, tls=HANDSHAKE)
HTTP_REQUEST = (
    b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n"
)
BROWSER_REQUEST = (
    b"GET /articles?page=2 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0.0.0\r\n"
    b"Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\n"
    b"Referer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef; theme=dark\r\n\r\n"
)
POST_REQUEST = (
    b"POST /items HTTP/1.1\r\nHost: www.example.com\r\nContent-Type: application/json\r\n"
    b'Content-Length: 11\r\n\r\n{"item": 1}'
)
HTTP_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 01 Dec 2026 03:49:46 GMT\r\nContent-Type: text/html\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)
REQUEST, ANSWER = b"q" * 100, b"a" * 200


class Cost(NamedTuple):
    """What was executed.

    :ivar byte_codes: 0 without ``HAS_BYTE_CODES``.
    :ivar calls: of functions, and not of generators: the same on all versions.
    """

    byte_codes: int
    calls: int


def cost(call: Callable[[], object]) -> Cost:
    """Count what *call* executes of the package.

    The garbage of other tests is no part of it: generators of ours among it would be closed meanwhile.
    """
    byte_codes = calls = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal byte_codes, calls
        if event == "opcode":
            byte_codes += 1
        elif event == "call":
            code = frame.f_code
            if not code.co_filename.startswith(OURS):
                return None
            calls += not code.co_flags & inspect.CO_GENERATOR and code.co_name not in IN_PLACE
            frame.f_trace_opcodes, frame.f_trace_lines = HAS_BYTE_CODES, False
        return trace

    before = sys.gettrace()
    gc.disable()
    try:
        sys.settrace(trace)
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return Cost(byte_codes, calls)


class TlsClient:
    """A client that makes a full handshake, and sends its first bytes with the last of it.

    :param kernel: connects it.
    :param data: those bytes.
    """

    def __init__(self, kernel: MemoryKernel, data: bytes) -> None:
        self._received = b""
        self._heard = 0
        self._tls = client_in_memory(client_context())
        self._agree()
        self._peer = kernel.connect(b"".join(to_send(self._tls)))
        kernel.run()
        self._hear()
        self._agree()
        self.send(data)

    @property
    def received(self) -> bytes:
        """All that it has read."""
        self._hear()
        with contextlib.suppress(SSL.WantReadError, SSL.ZeroReturnError):
            while True:
                self._received += self._tls.recv(len(ANSWER))
        return self._received

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self._tls.send(data)
        self._peer.send(b"".join(to_send(self._tls)))

    def finish(self) -> None:
        """Send the end of the stream."""
        self._peer.finish()

    def _agree(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            self._tls.do_handshake()

    def _hear(self) -> None:
        if data := self._peer.received_since(self._heard):
            self._heard += len(data)
            self._tls.bio_write(data)


class Stage:
    """A frontend, a backend that accepts, and clients, one after the other.

    :param native: whether on the native data path.
    :param queue: of the pool.
    :param frontend: further arguments of the frontend.
    :ivar stats: the counters of the frontend.
    :ivar pool: the pool, whose affinity knows the client from the second connection on.
    :ivar backend: the backend.
    """

    def __init__(self, *, native: bool = True, queue: int = 0, **frontend: Any) -> None:
        self.records: list[SessionRecord] = []
        # An equal address of another test would be compared with each time.
        socket_connector._known_target_of.cache_clear()
        self._kernel = kernel = MemoryKernel(native=native)
        seconds = kernel.clock.seconds
        self.backend = Backend("10.0.0.1:80", max_connections=100 if queue else None)
        self.pool = pool = Pool(
            "pool",
            [self.backend],
            clock=seconds,
            rng=Random(1),
            balance=RoundRobin,
            affinity=AffinityConfig(),
            queue=queue,
        )
        factory = FrontendFactory(
            kernel.reactor,
            pool,
            on_record=self.records.append,
            connector=kernel.connector,
            clock=seconds,
            wall_clock=seconds,
            **frontend,
        )
        self.stats = factory.stats
        kernel.serve(factory)

    def connection(self, further: int = 0, header: bytes = b"") -> None:
        """Play one connection: requests and their answers, with the last of which the backend ends it.

        :param further: requests behind the first.
        :param header: what the client sends before it.
        """
        kernel = self._kernel
        client = self._connect(header + REQUEST)
        kernel.run()
        backend = kernel.dialled[-1]
        for _ in range(further):
            backend.send(ANSWER)
            kernel.run()
            client.send(REQUEST)
            kernel.run()
        backend.send(ANSWER)
        backend.finish()
        kernel.run()
        client.finish()
        kernel.run()
        assert backend.received == REQUEST * (1 + further)
        assert client.received == ANSWER * (1 + further)
        assert self.records.pop().reason.word == "backend_closed"

    def _connect(self, data: bytes) -> Any:
        return self._kernel.connect(data)

    def refusal(self) -> None:
        """Play a client that is refused."""
        assert self._kernel.connect(b"").saw == "reset"


class HttpStage:
    """A frontend of mode "http", one client and one connection to a backend, which are kept."""

    def __init__(self) -> None:
        self.records: list[SessionRecord] = []
        socket_connector._known_target_of.cache_clear()
        self._kernel = kernel = MemoryKernel(native=True)
        seconds = kernel.clock.seconds
        pool = Pool(
            "pool",
            [Backend("10.0.0.1:80")],
            clock=seconds,
            rng=Random(1),
            balance=RoundRobin,
            affinity=AffinityConfig(),
        )
        kernel.serve(
            HttpFrontendFactory(
                kernel.reactor,
                pool,
                http=HttpSettings(),
                routes=Routes((), Route(pool=pool)),
                on_record=self.records.append,
                connector=kernel.connector,
                clock=seconds,
                wall_clock=seconds,
            )
        )
        self._client = kernel.connect(HTTP_REQUEST)
        kernel.run()
        (self._backend,) = kernel.dialled
        self._backend.send(HTTP_ANSWER)
        kernel.run()

    def request(self, data: bytes = HTTP_REQUEST) -> None:
        """Play one request, and its answer."""
        # No kernel could be asked of a socket in memory.
        with patch.object(socket_transport, "has_news", lambda _: False):
            self._client.send(data)
            self._kernel.run()
            self._backend.send(HTTP_ANSWER)
            self._kernel.run()
        assert self.records.pop().reason.word == "answered"


class TlsStage(Stage):
    """The same with clients that speak TLS."""

    def __init__(self) -> None:
        with TemporaryDirectory() as folder:
            issued = Authority.root().issue(Path(folder), "web", "web.example")
            super().__init__(preread=PrereadSettings(tls=ServerTls(frontend_tls(issued))))

    def _connect(self, data: bytes) -> Any:
        return TlsClient(self._kernel, data)


def costs() -> dict[str, Cost]:
    """Count what is done for each connection and message."""
    native, portable, tls = Stage(), Stage(native=False), TlsStage()
    http = HttpStage()
    behind_proxy = Stage(preread=PrereadSettings(NetworkSet([ip_network(CLIENTS)])))
    with_queue = Stage(queue=10)
    refusing = Stage(access=AccessConfig(deny=(CLIENTS,)))
    return {
        "native connection": _warm(native.connection),
        "native connection, a queue": _warm(with_queue.connection),
        "native connection with a PROXY header": _warm(lambda: behind_proxy.connection(header=HEADER)),
        "native, ten further requests": _ten_further(native),
        "native connection over TLS": _warm(tls.connection),
        "native, ten further requests over TLS": _ten_further(tls),
        "portable connection": _warm(portable.connection),
        "portable, ten further requests": _ten_further(portable),
        "HTTP request": _warm(http.request),
        "HTTP request of a browser": _warm(lambda: http.request(BROWSER_REQUEST)),
        "HTTP request with a body": _warm(lambda: http.request(POST_REQUEST)),
        "refusal": _warm(refusing.refusal),
        "text line of the access log": _warm(lambda: text_line(USUAL)),
        "text line of the access log, TLS": _warm(lambda: text_line(USUAL_TLS)),
        "JSON line of the access log": _warm(lambda: json_line(USUAL)),
        "text line of a request": _warm(lambda: text_line(USUAL_REQUEST)),
        "JSON line of a request": _warm(lambda: json_line(USUAL_REQUEST)),
        "combined line of a request": _warm(lambda: combined_line(USUAL_REQUEST)),
    }


def _warm(call: Callable[[], object]) -> Cost:
    for _ in range(WARM_UP):
        call()
    return cost(call)


def _ten_further(stage: Stage) -> Cost:
    """Count behind the first few, which are not carried as the others are."""
    few, many = (_warm(lambda further=further: stage.connection(further)) for further in (5, 15))  # type: ignore[misc]
    return Cost(many.byte_codes - few.byte_codes, many.calls - few.calls)


if __name__ == "__main__":
    print(f"{'byte codes':>10} {'calls':>6}")  # noqa: T201
    for name, (byte_codes, calls) in costs().items():
        print(f"{byte_codes or '-':>10} {calls:6}  {name}")  # noqa: T201
