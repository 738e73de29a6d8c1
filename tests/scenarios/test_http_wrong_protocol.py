"""Plain HTTP at a port for TLS, and TLS at a port for plain HTTP: both the client and the log say so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.certificates import Authority
from support.clients import connect, read_all
from support.daemon import Daemon
from support.process import finish
from support.programs import require
from support.waiting import until
from tcpbalance.net.data_path import DataPathName

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.plain]
mode = "http"
listen = "127.0.0.1:0"
routes = [{ answer = { status = 204 } }]

[frontends.secure]
mode = "http"
listen = "127.0.0.1:0"
routes = [{ answer = { status = 204 } }]
tls.certificates = [{ cert = "web.pem", key = "web.key" }]

[frontends.stream]
listen = "127.0.0.1:0"
pool = "web"
tls.certificates = [{ cert = "web.pem", key = "web.key" }]

[pools.web]
backends = ["127.0.0.1:9"]
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, data_path: DataPathName) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("wrong")
    Authority.root().issue(folder, "web", "web.example")
    with Daemon(CONFIG, folder) as running:
        yield running


def record(daemon: Daemon, frontend: str, cause: str) -> dict[str, Any]:
    """Wait for a line of the access log."""
    found = until(
        lambda: [it for it in daemon.access_records if (it["frontend"], it["cause"]) == (frontend, cause)],
        lambda: f"{frontend} {cause}: {daemon.access_records}",
    )
    assert isinstance(found, list)
    last: dict[str, Any] = found[-1]
    return last


@pytest.mark.requires("curl")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_curl_with_http_at_a_port_for_tls_reads_what_to_do(daemon: Daemon, method: str) -> None:
    (curl,) = require("curl")
    url = f"http://127.0.0.1:{daemon.ports['secure']}/"
    how = ["--head"] if method == "HEAD" else ["-X", method, "-d", "a=b" * 1000]
    done = finish([curl, "-sS", "--max-time", "30", "-w", "%{http_code}", *how, url])
    assert done.stdout.endswith("400"), done
    assert method == "HEAD" or done.stdout.startswith("this port speaks TLS: use https://"), done
    assert record(daemon, "secure", "http request")["reason"] == "handshake_failed"


@pytest.mark.requires("curl")
def test_curl_with_an_http_proxy_at_a_port_for_tls_reads_it_too(daemon: Daemon) -> None:
    (curl,) = require("curl")
    proxy = f"http://127.0.0.1:{daemon.ports['secure']}"
    done = finish([curl, "-sS", "--max-time", "30", "-w", "%{http_connect}", "-x", proxy, "https://a.test/"])
    assert done.stdout.endswith("400"), done
    assert record(daemon, "secure", "https proxy request")["reason"] == "handshake_failed"


def test_the_answer_is_whole_http(daemon: Daemon) -> None:
    with connect(daemon.ports["secure"]) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 500 + b"\r\n")
        answer = read_all(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close" in head
    assert b"Content-Length: %d" % len(body) in head


@pytest.mark.parametrize("data", [b"\x80\x01nonsense", b"SSH-2.0-x\r\n" * 3, b"\x16\x03\x01\x00\x05hello"])
def test_other_protocols_get_no_http(daemon: Daemon, data: bytes) -> None:
    with connect(daemon.ports["secure"]) as client:
        client.sendall(data)
        assert b"HTTP" not in read_all(client)


def test_mode_tcp_answers_nothing(daemon: Daemon) -> None:
    with connect(daemon.ports["stream"]) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP" not in read_all(client)
    assert record(daemon, "stream", "http request")["reason"] == "handshake_failed"


@pytest.mark.requires("curl")
def test_curl_with_tls_at_a_plain_port_is_told_so(daemon: Daemon) -> None:
    (curl,) = require("curl")
    done = finish([curl, "-sS", "--max-time", "30", f"https://127.0.0.1:{daemon.ports['plain']}/"])
    # The words that people search for where a server speaks no TLS.
    assert "wrong version number" in done.stderr, done
    found = record(daemon, "plain", "tls_on_plain")
    assert (found["reason"], found["status"]) == ("bad_request", 400)


@pytest.mark.requires("openssl")
def test_openssl_at_a_plain_port_is_told_so(daemon: Daemon) -> None:
    (openssl,) = require("openssl")
    done = finish([openssl, "s_client", "-connect", f"127.0.0.1:{daemon.ports['plain']}"], input="")
    assert done.returncode != 0
    assert "wrong version number" in done.stderr, done


def test_a_tls_client_at_a_plain_port_can_read_the_answer_in_a_capture(daemon: Daemon) -> None:
    with connect(daemon.ports["plain"]) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        assert read_all(client).startswith(b"HTTP/1.1 400 Bad Request\r\n")
