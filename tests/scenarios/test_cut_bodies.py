"""A body that is cut never looks whole, whichever framing it has: on the other side, its connection ends out
of order."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from attrs import frozen

from support.certificates import Authority
from support.clients import TIMEOUT, connect, reset
from support.daemon import Daemon
from tcpbalance.net.data_path import DataPathName

NAME = "a.example"

CONFIG = """
[frontends.plain]
mode = "http"
listen = "127.0.0.1:0"
pool = "plain"
http = {{ body_timeout = "200ms" }}

[frontends.tls]
mode = "http"
listen = "127.0.0.1:0"
pool = "tls"
http = {{ body_timeout = "200ms" }}
tls.certificates = [{{ cert = "web.pem", key = "web.key" }}]

[pools.plain]
backends = ["{plain}"]
http = {{ idle_connections = 0, stall_timeout = "200ms" }}

[pools.tls]
backends = ["{tls}"]
http = {{ idle_connections = 0, stall_timeout = "200ms" }}
tls = {{ ca = "root.pem", server_name = "{name}" }}
"""


@frozen
class Stage:
    """A balancer, and the sockets of its backends.

    :param listeners: by the name of the frontend that leads there.
    """

    daemon: Daemon
    listeners: dict[str, socket.socket]
    client_context: ssl.SSLContext
    backend_context: ssl.SSLContext

    @contextmanager
    def client(self, frontend: str) -> Iterator[socket.socket]:
        """Connect to a frontend."""
        with connect(self.daemon.ports[frontend]) as sock:
            if frontend == "plain":
                yield sock
                return
            # Else an end without close_notify would be reported as one in order.
            with self.client_context.wrap_socket(
                sock, server_hostname=NAME, suppress_ragged_eofs=False
            ) as tls:
                yield tls

    @contextmanager
    def backend(self, frontend: str) -> Iterator[socket.socket]:
        """Accept the connection of a request."""
        sock, _ = self.listeners[frontend].accept()
        with sock:
            sock.settimeout(TIMEOUT)
            if frontend == "plain":
                yield sock
                return
            with self.backend_context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as tls:
                yield tls


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, data_path: DataPathName) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("cut")
    authority = Authority.root()
    issued = authority.issue(folder, "web", NAME)
    root = authority.write(folder / "root.pem")
    backend_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    backend_context.load_cert_chain(issued.certificate, issued.key)
    with ExitStack() as stack:
        listeners = {}
        for name in ("plain", "tls"):
            listeners[name] = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listeners[name].settimeout(TIMEOUT)
        addresses = {name: f"127.0.0.1:{sock.getsockname()[1]}" for name, sock in listeners.items()}
        daemon = stack.enter_context(Daemon(CONFIG.format(name=NAME, **addresses), folder))
        context = ssl.create_default_context(cafile=f"{root}")
        yield Stage(daemon, listeners, context, backend_context)


def read_up(sock: socket.socket) -> tuple[int, bool]:
    """Read to the end; gives the number of bytes, and whether it was an end in order."""
    size = 0
    try:
        while data := sock.recv(1 << 16):
            size += len(data)
    except (ConnectionResetError, ssl.SSLEOFError):
        return size, False
    return size, True


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = sock.recv(1)
        assert part, head
        head += part
    return head


SHORT, LONG = b"abc", bytes(600_000)
"""What comes of a body: of a long one, the kernel carries some where it can."""

FRAMINGS = {
    "length": (b"Content-Length: 9000000\r\n\r\n", b""),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b""),
    "long chunk": (b"Transfer-Encoding: chunked\r\n\r\n", b"895440\r\n"),
    "end": (b"\r\n", b""),
}
"""The rest of the head, and what stands before the body, which is always larger than what comes."""


def cut(framing: str, part: bytes) -> bytes:
    """Give a head's last lines, and a part of a body."""
    fields, before = FRAMINGS[framing]
    if framing == "chunks":
        return fields + b"%x\r\n%b\r\n" % (len(part), part)
    return fields + before + part


def end(sock: socket.socket, how: str) -> None:
    """End a connection before its body is whole."""
    if how == "finish":
        # Of TLS, too: without close_notify.
        sock.shutdown(socket.SHUT_WR)
    elif how == "reset":
        reset(sock)
    elif how == "bad chunk":
        sock.sendall(b"zz\r\n")


KINDS = {"short": ("plain", SHORT), "long": ("plain", LONG), "tls": ("tls", LONG)}
VERSIONS = [b"1.1", b"1.0"]
REQUEST_FRAMINGS = [("length", b"1.1"), ("length", b"1.0"), ("chunks", b"1.1"), ("long chunk", b"1.1")]
each_kind = pytest.mark.parametrize(("kind", "part"), KINDS.values(), ids=KINDS)


@contextmanager
def begun_response(
    stage: Stage, framing: str, version: bytes, part: bytes, kind: str
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the client and the backend of a response of which a part has come."""
    with stage.client(kind) as client:
        client.sendall(b"GET / HTTP/%b\r\nHost: a\r\nConnection: close\r\n\r\n" % version)
        with stage.backend(kind) as backend:
            read_head(backend)
            backend.sendall(b"HTTP/1.1 200 OK\r\n" + cut(framing, part))
            assert read_head(client).startswith(b"HTTP/1.1 200 ")
            yield client, backend


@contextmanager
def begun_request(
    stage: Stage, framing: str, version: bytes, part: bytes, kind: str
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the client and the backend of a request of which a part has come."""
    with stage.client(kind) as client:
        client.sendall(b"POST / HTTP/%b\r\nHost: a\r\n" % version + cut(framing, part))
        with stage.backend(kind) as backend:
            read_head(backend)
            yield client, backend


@each_kind
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("framing", "how"),
    [(framing, how) for framing in FRAMINGS for how in ("finish", "reset")] + [("chunks", "bad chunk")],
)
def test_a_response(stage: Stage, framing: str, how: str, version: bytes, part: bytes, kind: str) -> None:
    with begun_response(stage, framing, version, part, kind) as (client, backend):
        end(backend, how)
        size, in_order = read_up(client)
        # Without TLS, the end of a connection is that of a body which ends with it.
        assert in_order is (framing == "end" and how == "finish" and kind == "plain")
        assert how in ("reset", "bad chunk") or size >= len(part)


@each_kind
def test_responses_that_stall(stage: Stage, part: bytes, kind: str) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(begun_response(stage, framing, version, part, kind))[0]
            for framing in FRAMINGS
            for version in VERSIONS
        ]
        for client in clients:
            size, in_order = read_up(client)
            assert size >= len(part)
            assert not in_order


@each_kind
@pytest.mark.parametrize(
    ("framing", "version", "how"),
    [
        (framing, version, how)
        for framing, version in REQUEST_FRAMINGS
        for how in ("finish", "reset", *(["bad chunk"] if framing == "chunks" else []))
    ],
)
def test_a_request(stage: Stage, framing: str, version: bytes, how: str, part: bytes, kind: str) -> None:
    with begun_request(stage, framing, version, part, kind) as (client, backend):
        end(client, how)
        _, in_order = read_up(backend)
        assert not in_order


@each_kind
def test_requests_that_stall(stage: Stage, part: bytes, kind: str) -> None:
    with ExitStack() as stack:
        backends = [
            stack.enter_context(begun_request(stage, framing, version, part, kind))[1]
            for framing, version in REQUEST_FRAMINGS
        ]
        for backend in backends:
            _, in_order = read_up(backend)
            assert not in_order
