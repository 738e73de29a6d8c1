"""``mode = "http"`` with real programs: curl before it, a server of the standard library behind it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from support.certificates import Authority
from support.clients import connect
from support.daemon import Daemon
from support.http_backend import content, http_backend, http_backend_process
from support.process import run
from support.programs import require
from support.tls_peers import tls_peer
from support.waiting import until

NAME = "web.example"
LARGE = 30_000_000

CONFIG = """
data_path = "{data_path}"

[access_log]
path = "access.log"
format = "json"

[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"

[[frontends.web.routes]]
paths = ["/old/*"]
redirect = {{ to = "https://{{host}}/new{{path}}" }}

[frontends.secure]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"

[frontends.secure.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[pools.web]
backends = ["{backend}"]
"""

pytestmark = pytest.mark.requires("curl")


@frozen
class Site:
    """A balancer with a server behind it."""

    daemon: Daemon
    root: Path

    def url(self, path: str, frontend: str = "web") -> str:
        scheme, host = ("https", NAME) if frontend == "secure" else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.daemon.ports[frontend]}{path}"

    def curl(self, *arguments: str | Path, frontend: str = "web") -> str:
        (curl,) = require("curl")
        trusted: list[str | Path] = []
        if frontend == "secure":
            port = self.daemon.ports[frontend]
            trusted = ["--cacert", self.root, "--resolve", f"{NAME}:{port}:127.0.0.1"]
        return run([curl, "--silent", "--show-error", "--max-time", "30", *map(str, (*trusted, *arguments))])


@pytest.fixture(scope="module", params=["auto", "portable"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("http")
    authority = Authority.root()
    authority.issue(folder, "web", NAME)
    with (
        http_backend_process(folder) as backend,
        Daemon(CONFIG.format(data_path=request.param, backend=backend), folder) as daemon,
    ):
        yield Site(daemon, authority.write(folder / "root.pem"))


def test_one_connection_serves_several_requests(site: Site) -> None:
    urls = [site.url("/a"), site.url("/b"), site.url("/c")]
    counts = site.curl(
        "-o/dev/null", "-o/dev/null", "-o/dev/null", "-w", "%{num_connects} %{http_code}\n", *urls
    )
    assert counts == "1 200\n0 200\n0 200\n"


def test_a_redirect(site: Site) -> None:
    found = site.curl("-o/dev/null", "-w", "%{http_code} %{redirect_url}", site.url("/old/a?b"))
    assert found == "308 https://127.0.0.1/new/old/a"


@pytest.mark.parametrize("frontend", ["web", "secure"])
@pytest.mark.parametrize("kind", ["bytes", "chunks", "long-chunks"])
def test_a_long_download(site: Site, tmp_path: Path, frontend: str, kind: str) -> None:
    site.curl("-o", tmp_path / "file", site.url(f"/{kind}/{LARGE}", frontend), frontend=frontend)
    assert (tmp_path / "file").read_bytes() == content(LARGE)


@pytest.mark.parametrize("frontend", ["web", "secure"])
@pytest.mark.parametrize("header", ["Expect: 100-continue", "Expect:", "Transfer-Encoding: chunked"])
def test_a_long_upload(site: Site, tmp_path: Path, frontend: str, header: str) -> None:
    (tmp_path / "file").write_bytes(content(LARGE))
    found = site.curl(
        "-H", header, "-X", "POST", "-T", tmp_path / "file", site.url("/", frontend), frontend=frontend
    )
    assert found == hashlib.sha256(content(LARGE)).hexdigest()


def test_the_backend_learns_of_the_client(site: Site) -> None:
    got = json.loads(site.curl(site.url("/", "secure"), frontend="secure"))
    assert got["X-Forwarded-For"] == "127.0.0.1"
    assert got["X-Forwarded-Proto"] == "https"
    assert got["X-Forwarded-Port"] == str(site.daemon.ports["secure"])


TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "baggage": "userId=alice,serverNode=DF%2028",
}
"""What W3C Trace Context and Baggage have clients send."""


def test_the_context_of_a_trace_is_passed_on_as_it_is(site: Site) -> None:
    fields = [part for name, value in TRACE.items() for part in ("-H", f"{name}: {value}")]
    got = json.loads(site.curl(*fields, site.url("/")))
    assert {name: got[name] for name in TRACE} == TRACE


def test_alpn_says_http_1_1(site: Site) -> None:
    assert (
        site.curl("-o/dev/null", "-w", "%{http_version}", site.url("/", "secure"), frontend="secure") == "1.1"
    )


def test_a_record_has_what_was_asked_for(site: Site) -> None:
    site.curl("-A", "tester", site.url("/recorded?x=1"))
    record = until(
        lambda: next((it for it in site.daemon.access_records if it["target"] == "/recorded?x=1"), None),
        "the record",
    )
    assert record is not None
    assert (record["method"], record["status"], record["reason"]) == ("GET", 200, "answered")
    assert record["user_agent"] == "tester"


@pytest.mark.parametrize("data_path", ["auto", "portable"])
def test_a_response_until_close_over_tls_is_whole_with_a_close_notify_alone(
    tmp_path: Path, data_path: str
) -> None:
    authority = Authority.root()
    issued = authority.issue(tmp_path, "backend", NAME)
    authority.write(tmp_path / "root.pem")

    def answer(sock: Any) -> None:
        request = sock.recv(10_000)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 10_000)
        if b"/whole" in request:
            with contextlib.suppress(OSError):
                sock.unwrap()

    with tls_peer(answer, issued) as backend:
        config = f'data_path = "{data_path}"\n'
        config += '[frontends.web]\nmode = "http"\nlisten = "127.0.0.1:0"\npool = "web"\n'
        config += f'[pools.web]\nbackends = ["{backend.address}"]\n'
        config += f'[pools.web.tls]\nca = "root.pem"\nserver_name = "{NAME}"\n'
        with Daemon(config, tmp_path) as daemon:
            for version in ("0", "1"):
                assert _until_close(daemon.port, f"/whole HTTP/1.{version}")
                assert not _until_close(daemon.port, f"/cut HTTP/1.{version}")


def _until_close(port: int, asked_for: str) -> bool:
    """Fetch a response; give whether it looks whole."""
    data = b""
    with connect(port) as client:
        client.sendall(f"GET {asked_for}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        try:
            while part := client.recv(100_000):
                data += part
        except ConnectionResetError:
            return False
    return data.endswith(b"\r\n0\r\n\r\n" if b"chunked" in data else b"a" * 10_000)


def test_idle_clients_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with http_backend() as backend:
        config = CONFIG.format(data_path="auto", backend=backend.address).partition("[frontends.secure]")[0]
        config += f'[pools.web]\nbackends = ["{backend.address}"]\n'
        with Daemon(config, tmp_path) as daemon:
            idle, busy = connect(daemon.port), connect(daemon.port)
            with idle, busy:
                for client, path in ((idle, b"/"), (busy, b"/slow")):
                    client.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
                until(lambda: backend.slow_requests, "the slow request")
                ended = threading.Thread(target=daemon.stop)
                ended.start()
                while idle.recv(1000):
                    pass
                backend.go_on.set()
                answer = b""
                while data := busy.recv(1000):
                    answer += data
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"\r\nConnection: close\r\n" in answer
                ended.join()


def test_a_server_that_closes_idle_connections_causes_no_failure(tmp_path: Path) -> None:
    with http_backend(idle=0.05) as backend:
        config = CONFIG.format(data_path="auto", backend=backend.address).partition("[frontends.secure]")[0]
        config += f'[pools.web]\nbackends = ["{backend.address}"]\n'
        with Daemon(config, tmp_path) as daemon, connect(daemon.port) as client:
            statuses = []
            for number in range(100):
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                data = client.recv(10_000)
                while b"\r\n\r\n" not in data:
                    data += client.recv(10_000)
                head, _, body = data.partition(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(body) < size:
                    body += client.recv(10_000)
                statuses.append(head[9:12])
                # Around the time at which the server closes.
                threading.Event().wait(0.04 + number % 20 / 1000)
            assert set(statuses) == {b"200"}
            assert backend.connections > 10
