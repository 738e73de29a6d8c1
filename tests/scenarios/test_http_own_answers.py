"""What the balancer answers itself: its status, what becomes of the connection, and what the log has."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import pytest
from attrs import frozen

from support.certificates import Authority
from support.clients import connect, read_all
from support.daemon import Daemon
from support.peers import Peer, peer
from support.tls_clients import new_address
from support.waiting import until
from tcpbalance.workers.shared_counts import can_count

CONFIG = """
workers = {workers}

[access_log]
path = "access.log"
format = "json"

[frontends.site]
mode = "http"
listen = "127.0.0.1:0"
error_pages = {{ "404" = "404.html" }}
http = {{ head_timeout = "300ms", body_timeout = "300ms" }}
routes = [
    {{ paths = ["/small"], pool = "silent", body_size = 10 }},
    {{ paths = ["/silent"], pool = "silent" }},
    {{ paths = ["/silent/soon"], pool = "silent", response_timeout = "300ms" }},
    {{ paths = ["/closed"], pool = "silent", access.deny = ["127.0.0.0/8"] }},
    {{ paths = ["/wrong"], pool = "wrong" }},
    {{ paths = ["/refusing"], pool = "refusing" }},
    {{ paths = ["/drained"], pool = "drained" }},
    {{ paths = ["/full"], pool = "full" }},
]

[frontends.brief]
mode = "http"
listen = "127.0.0.1:0"
pool = "silent"
http.keepalive_timeout = "300ms"

[frontends.secure]
mode = "http"
listen = "127.0.0.1:0"
tls.certificates = [{{ cert = "web.pem", key = "web.key" }}]
tls.client_ca = "clients.pem"
routes = [
    {{ hosts = ["a.example", "www.a.example"], answer = {{ status = 200 }} }},
    {{ hosts = ["b.example"], answer = {{ status = 410 }} }},
]

[frontends.open]
mode = "http"
listen = "127.0.0.1:0"
tls.certificates = [{{ cert = "web.pem", key = "web.key" }}]
routes = [
    {{ hosts = ["a.example"], answer = {{ status = 200 }} }},
    {{ hosts = ["b.example"], answer = {{ status = 410 }} }},
]

[pools.silent]
backends = ["{silent}"]

[pools.wrong]
backends = ["{wrong}"]

[pools.refusing]
backends = ["127.0.0.1:9"]

[pools.drained]
backends = [{{ address = "{silent}", state = "drain" }}]

[pools.full]
backends = [{{ address = "{silent}", max_connections = 1 }}]
queue = 1
queue_timeout = "500ms"
"""

WORKERS = [1, pytest.param(2, marks=pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"))]


@frozen
class Site:
    """A balancer, its backend that never answers, and what clients need for TLS."""

    daemon: Daemon
    silent: Peer
    context: ssl.SSLContext

    def record(self, address: str) -> dict[str, Any]:
        """Wait for what the access log has of the first request from an address."""

        def found() -> list[dict[str, Any]]:
            return [it for it in self.daemon.access_records if it["client"].startswith(f"{address}:")]

        until(found, lambda: f"a record of {address}: {self.daemon.access_records}")
        return found()[0]


def never_answer(sock: socket.socket) -> None:
    read_all(sock)


def answer_wrongly(sock: socket.socket) -> None:
    sock.recv(10_000)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")


@pytest.fixture(scope="module", params=WORKERS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("own-answers")
    servers, clients = Authority.root(), Authority.root("Clients")
    servers.issue(folder, "web", "a.example", "www.a.example", "b.example")
    clients.issue_client(folder, "alice", "CN=alice")
    clients.write(folder / "clients.pem")
    (folder / "404.html").write_text("<p>nothing here</p>")
    context = ssl.create_default_context(cafile=f"{servers.write(folder / 'root.pem')}")
    context.load_cert_chain(folder / "alice.pem", folder / "alice.key")
    with ExitStack() as stack:
        silent, wrong = stack.enter_context(peer(never_answer)), stack.enter_context(peer(answer_wrongly))
        config = CONFIG.format(workers=request.param, silent=silent.address, wrong=wrong.address)
        yield Site(stack.enter_context(Daemon(config, folder)), silent, context)


def answer_of(client: socket.socket) -> tuple[HTTPResponse, bytes]:
    """Read one answer."""
    response = HTTPResponse(client)
    response.begin()
    return response, response.read()


def stays_open(client: socket.socket) -> bool:
    """Tell whether the connection serves another request."""
    try:
        client.sendall(get("/nowhere"))
        return answer_of(client)[0].status == 404
    except OSError:
        # This includes an end without an answer.
        return False


def get(target: str, host: str = "a.example", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def post(target: str, field: str, body: bytes = b"") -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: a.example\r\n{field}\r\n\r\n".encode() + body


@frozen
class Case:
    """A request that is answered here.

    :param reason: what the log has, with the cause.
    :param keeps: whether the connection serves the next request.
    :param fields: lines that the answer has.
    """

    name: str
    data: bytes
    status: int
    reason: str
    keeps: bool = True
    fields: tuple[str, ...] = ()


LENGTH, CHUNKED = "Content-Length: 20", "Transfer-Encoding: chunked"
LONG = bytes(20)

CASES = [
    Case("no route", get("/nowhere"), 404, "no_route"),
    Case("no route for a body", post("/nowhere", LENGTH, LONG), 404, "no_route"),
    Case("no route for a body that still comes", post("/nowhere", LENGTH, b"abc"), 404, "no_route", False),
    Case("client that is denied", get("/closed"), 403, "request_refused denied"),
    Case("TRACE", get("/", method="TRACE"), 405, "bad_request method", fields=("Allow",)),
    Case("CONNECT", get("a:443", method="CONNECT"), 405, "bad_request method", False, ("Allow",)),
    Case("large body that has come", post("/small", LENGTH, LONG), 413, "bad_request body_too_large"),
    Case("large body that is announced", post("/small", LENGTH), 413, "bad_request body_too_large", False),
    Case("other expectation", post("/silent", "Expect: x"), 417, "bad_request expectation", False),
    Case("head that does not come", b"GET / HTTP/1.1\r\n", 408, "head_timeout", False),
    Case("body that does not come", post("/silent", LENGTH, b"abc"), 408, "body_timeout", False),
    Case("backend that refuses", get("/refusing"), 502, "connect_failed refused"),
    Case("two lengths", get("/wrong"), 502, "bad_response"),
    Case("no backend", get("/drained"), 503, "no_backend", fields=("Retry-After",)),
    Case("silent backend", get("/silent/soon"), 504, "response_timeout"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_is_answered_here(site: Site, case: Case) -> None:
    address = new_address()
    with connect(site.daemon.ports["site"], address) as client:
        client.sendall(case.data)
        response, body = answer_of(client)
        assert (response.status, stays_open(client)) == (case.status, case.keeps)
    assert (response.getheader("Connection") != "close") == case.keeps
    assert all(response.getheader(name) for name in case.fields)
    assert body == b"<p>nothing here</p>" if case.status == 404 else body.startswith(b"%d " % case.status)
    record = site.record(address)
    assert f"{record['reason']} {record['cause'] or ''}".startswith(case.reason)
    assert record["status"] == case.status


def test_a_client_that_sends_nothing_is_just_closed(site: Site) -> None:
    with connect(site.daemon.ports["brief"]) as client:
        assert read_all(client) == b""


def test_a_body_that_turns_out_to_be_too_large_is_cut_at_the_backend(site: Site) -> None:
    until(lambda: not site.silent.open_connections, "the connections of others closed")
    with connect(site.daemon.ports["site"]) as client:
        client.sendall(post("/small", CHUNKED))
        until(lambda: site.silent.open_connections, "the request at the backend")
        client.sendall(b"14\r\n" + LONG)
        assert answer_of(client)[0].status == 413
        until(lambda: not site.silent.open_connections, "the request cut")


def test_a_full_queue_and_a_wait_that_is_too_long_are_503(site: Site) -> None:
    address, port = new_address(), site.daemon.ports["site"]
    until(lambda: not site.silent.open_connections, "the connections of others closed")
    with connect(port) as first, ExitStack() as stack:
        first.sendall(get("/full"))
        until(lambda: site.silent.open_connections, "the request at the backend")
        # More than one for each process: so one of them finds a queue that is full.
        others = [stack.enter_context(connect(port, address)) for _ in range(3)]
        for client in others:
            client.sendall(get("/full"))
        for client in others:
            response, _ = answer_of(client)
            assert (response.status, response.getheader("Retry-After")) == (503, "1")

    def reasons() -> set[str]:
        records = site.daemon.access_records
        return {it["reason"] for it in records if it["client"].startswith(f"{address}:")}

    until(lambda: reasons() == {"queue_full", "queue_timeout"}, lambda: f"{reasons()}")


def ask(site: Site, frontend: str, name: str, host: str, version: ssl.TLSVersion) -> tuple[int, bool]:
    """Ask for a host after a handshake for a name; give the status, and whether the connection goes on."""
    site.context.minimum_version = site.context.maximum_version = version
    with (
        connect(site.daemon.ports[frontend]) as sock,
        site.context.wrap_socket(sock, server_hostname=name) as client,
    ):
        client.sendall(get("/", host))
        status = answer_of(client)[0].status
        client.sendall(get("/", name))
        return status, answer_of(client)[0].status == (410 if name == "b.example" else 200)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_is_shown_for_the_routes_of_one_name(site: Site, version: ssl.TLSVersion) -> None:
    def asked(name: str, host: str) -> tuple[int, bool]:
        return ask(site, "secure", name, host, version)

    assert asked("a.example", "a.example") == (200, True)
    assert asked("a.example", "www.a.example:8443") == (200, True)
    assert asked("a.example", "b.example") == (421, True)
    assert asked("b.example", "a.example") == (421, True)
    assert asked("b.example", "b.example") == (410, True)


def test_without_certificates_of_clients_the_host_decides(site: Site) -> None:
    assert ask(site, "open", "a.example", "b.example", ssl.TLSVersion.TLSv1_3) == (410, True)
