"""Clients that upload more than nginx takes get all of its answer, though nginx resets the connection.

nginx answers as soon as it has read the head, and here reads no more after that (`lingering_time 0s`). So its
kernel resets the connection: bytes have come that nobody has read.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.certificates import Authority
from support.clients import connect
from support.daemon import Daemon
from support.nginx import nginx

NAME = "web.example"
CLIENTS = 50
"""Of each kind."""

AT_ONCE = 4

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.plain]
listen = "127.0.0.1:0"
pool = "web"

[frontends.secured]
listen = "127.0.0.1:0"
pool = "web"

[frontends.secured.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[pools.web]
backends = ["{backend}"]
"""

BODY = bytes(3 << 20)
REQUEST = b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (NAME.encode(), len(BODY)) + BODY


@pytest.mark.requires("nginx")
@pytest.mark.timeout(120)
def test_each_client_has_the_whole_answer(tmp_path: Path) -> None:
    authority = Authority.root()
    authority.issue(tmp_path, "web", NAME)
    root = authority.write(tmp_path / "root.pem")
    with (
        nginx("web", more="client_max_body_size 1k; lingering_time 0s;") as (web,),
        Daemon(CONFIG.format(backend=web.address), tmp_path) as daemon,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        plain, secured = daemon.ports["plain"], daemon.ports["secured"]
        answers = [*pool.map(lambda _: upload(plain), range(CLIENTS))]
        answers += pool.map(lambda _: upload_secretly(secured, root), range(CLIENTS))
        records = daemon.wait_for_records(2 * CLIENTS)
    assert [answer for answer in answers if not is_whole(answer)] == []
    assert {record["reason"] for record in records} == {"backend_reset"}
    assert {record["backend_bytes"] for record in records} == {*map(len, answers)}


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 413 ") and f"Content-Length: {len(body)}".encode() in head.split(
        b"\r\n"
    )


def upload(port: int) -> bytes:
    """Send all of the request, or what is taken of it; gives all that can be read after that."""
    with connect(port) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(REQUEST)
        return read_to_the_break(sock)


def upload_secretly(port: int, root: Path) -> bytes:
    """The same over TLS, in memory: with a socket, OpenSSL reads nothing after a write that has failed."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=root).wrap_bio(incoming, outgoing, server_hostname=NAME)
    with connect(port) as sock:
        while not shaken(tls):
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(1 << 16))
        tls.write(REQUEST)
        with contextlib.suppress(ConnectionError):
            sock.sendall(outgoing.read())
        incoming.write(read_to_the_break(sock))
    answer = b""
    with contextlib.suppress(ssl.SSLError):
        while part := tls.read(1 << 16):
            answer += part
    return answer


def shaken(tls: ssl.SSLObject) -> bool:
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
        return True
    return False


def read_to_the_break(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(1 << 16):
            data += part
    return data
