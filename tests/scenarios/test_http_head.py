"""What the balancer answers to HEAD itself: the head that GET has, with the length of what is left out."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from attrs import frozen

from support.certificates import Authority
from support.clients import connect, read_all
from support.daemon import Daemon
from support.peers import hang, peer
from support.tls_clients import new_address

FRONTEND = """
[frontends.{name}]
mode = "http"
listen = "127.0.0.1:0"
http = {{ head_timeout = "300ms", body_timeout = "300ms" }}
{more}
routes = [
    {{ paths = ["/"], answer = {{ status = 200, file = "answer.html" }} }},
    {{ paths = ["/gone"], answer = {{ status = 410 }} }},
    {{ paths = ["/empty"], answer = {{ status = 204 }} }},
    {{ paths = ["/moved"], redirect = {{ to = "/elsewhere" }} }},
    {{ paths = ["/small"], pool = "silent", body_size = 10 }},
    {{ paths = ["/silent"], pool = "silent", response_timeout = "300ms" }},
    {{ paths = ["/closed"], pool = "silent", access.deny = ["127.0.0.0/8"] }},
    {{ paths = ["/refusing"], pool = "refusing" }},
    {{ paths = ["/drained"], pool = "drained" }},
]
"""

POOLS = """
[pools.silent]
backends = ["{silent}"]

[pools.refusing]
backends = ["127.0.0.1:9"]

[pools.drained]
backends = [{{ address = "{silent}", state = "drain" }}]
"""

SECURE = """
[frontends.secure]
mode = "http"
listen = "127.0.0.1:0"
tls.certificates = [{ cert = "web.pem", key = "web.key" }]
tls.client_ca = "clients.pem"
error_pages = { "400-599" = "error.html" }
routes = [
    { hosts = ["a.example"], answer = { status = 200 } },
    { hosts = ["b.example"], answer = { status = 200 } },
]
"""

PAGES = 'error_pages = { "400-599" = "error.html" }'
RATE = 'limits.requests_per_client = "1/m"'
MORE = {"plain": "", "paged": PAGES, "rated": RATE, "rated_paged": f"{PAGES}\n{RATE}"}

ERROR_PAGE, ANSWER = b"<p>something is wrong</p>", b"<p>welcome</p>"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("head")
    (folder / "error.html").write_bytes(ERROR_PAGE)
    (folder / "answer.html").write_bytes(ANSWER)
    with ExitStack() as stack:
        silent = stack.enter_context(peer(hang))
        config = "".join(FRONTEND.format(name=name, more=more) for name, more in MORE.items())
        config += SECURE + POOLS.format(silent=silent.address)
        servers, clients = Authority.root(), Authority.root("Clients")
        servers.issue(folder, "web", "a.example", "b.example")
        servers.write(folder / "root.pem")
        clients.issue_client(folder, "alice", "CN=alice")
        clients.write(folder / "clients.pem")
        yield stack.enter_context(Daemon(config, folder))


@frozen
class Case:
    """A request that is answered here.

    :param data: what comes behind its method.
    """

    status: int
    data: bytes


def request(target: str = "/", *fields: str, version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f" {target} {version}", "Host: a.example", *fields, "", ""]).encode()


CASES = [
    Case(200, request()),
    Case(204, request("/empty")),
    Case(308, request("/moved")),
    Case(400, request("/", "X : y")),
    Case(400, request("/", "Host: b.example")),
    Case(403, request("/closed")),
    Case(404, request("/nowhere")),
    Case(408, b" / HTTP/1.1\r\n"),
    Case(408, request("/silent", "Content-Length: 20")),
    Case(410, request("/gone")),
    Case(413, request("/small", "Content-Length: 20")),
    Case(414, request("/" + 20_000 * "a")),
    Case(417, request("/silent", "Expect: x")),
    Case(431, request("/", "X: " + 40_000 * "a")),
    Case(501, request("/", "Transfer-Encoding: gzip, chunked")),
    Case(502, request("/refusing")),
    Case(503, request("/drained")),
    Case(504, request("/silent")),
    Case(505, request(version="HTTP/2.0")),
]


def answer_to(daemon: Daemon, frontend: str, data: bytes) -> tuple[list[bytes], bytes]:
    """Send a request on a connection of its own.

    :returns: the lines of the head, without the date, and all that comes behind it, to the end or to the
        answer that a further request gets.
    """
    with connect(daemon.ports[frontend]) as client:
        client.sendall(data)
        received = read_head(client)
        # Where it was closed, sending or reading may fail.
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while part := client.recv(1 << 16):
                received += part
    head, _, rest = received.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]
    return lines, rest.partition(b"HTTP/1.1 404 ")[0]


def read_head(client: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(1)
        assert part, received
        received += part
    return received


@pytest.mark.parametrize("frontend", ["plain", "paged"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.status} {case.data[:20]!r}")
def test_head_gets_what_get_does_without_the_body(daemon: Daemon, frontend: str, case: Case) -> None:
    lines, body = answer_to(daemon, frontend, b"GET" + case.data)
    assert lines[0].startswith(b"HTTP/1.1 %d " % case.status)
    if case.status == 204:
        assert body == b""
    else:
        assert b"Content-Length: %d" % len(body) in lines
        has_page = case.status == 200 or (frontend == "paged" and case.status >= 400)
        assert (body in (ANSWER, ERROR_PAGE)) is has_page
    assert answer_to(daemon, frontend, b"HEAD" + case.data) == (lines, b"")


def test_an_empty_line_may_stand_before_it(daemon: Daemon) -> None:
    lines, body = answer_to(daemon, "plain", b"\r\nHEAD" + request("/", "X : y"))
    assert (lines[0], body) == (b"HTTP/1.1 400 Bad Request", b"")


@pytest.mark.parametrize("frontend", ["rated", "rated_paged"])
def test_head_that_comes_too_fast_gets_no_body(daemon: Daemon, frontend: str) -> None:
    with connect(daemon.ports[frontend], new_address()) as client:
        client.sendall(3 * (b"HEAD" + request()))
        client.shutdown(socket.SHUT_WR)
        heads = read_all(client).split(b"\r\n\r\n")
    assert [head[:12] for head in heads] == [b"HTTP/1.1 200", b"HTTP/1.1 429", b"HTTP/1.1 429", b""]
    length = len(ERROR_PAGE) if frontend == "rated_paged" else len(b"429 Too Many Requests\n")
    assert all(head.endswith(b"\r\nContent-Length: %d" % length) for head in heads[1:3])


def test_head_of_a_host_of_other_certificates_gets_no_body(daemon: Daemon) -> None:
    context = ssl.create_default_context(cafile=f"{daemon.folder / 'root.pem'}")
    context.load_cert_chain(daemon.folder / "alice.pem", daemon.folder / "alice.key")
    with (
        connect(daemon.ports["secure"]) as sock,
        context.wrap_socket(sock, server_hostname="a.example") as client,
    ):
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: b.example\r\n\r\n" * 2)
        received = b""
        while received.count(b"\r\n\r\n") < 2:
            received += client.recv(10_000)
    heads = received.split(b"\r\n\r\n")
    assert [head[:12] for head in heads] == [b"HTTP/1.1 421", b"HTTP/1.1 421", b""]
    assert heads[0].endswith(b"\r\nContent-Length: %d" % len(ERROR_PAGE))
