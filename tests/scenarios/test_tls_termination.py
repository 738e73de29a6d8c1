"""TLS ends here, and the backend is spoken to in plain: versions, protocols, sessions, the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from support.certificates import Authority
from support.daemon import Daemon
from support.nginx import nginx
from support.tls_clients import curl, new_address, record_of, s_client

NAME = "web.example"

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]
alpn = ["http/1.1"]

[frontends.new]
listen = "127.0.0.1:0"
pool = "web"

[frontends.new.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]
minimum_version = "1.3"

[pools.web]
backends = ["{backend}"]
"""

TLS_1_1 = ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")

pytestmark = pytest.mark.requires("nginx", "curl", "openssl")


@frozen
class Edge:
    """A balancer that speaks TLS in front of an nginx that does not."""

    daemon: Daemon
    root: Path

    def s_client(self, *options: str | Path, frontend: str = "web", source: str = "127.0.0.1") -> str:
        """Ask for a page and see that the certificate is one to be believed."""
        trusting = ["-CAfile", self.root, "-verify_return_error", *options]
        return s_client(self.daemon.ports[frontend], *trusting, name=NAME, source=source)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("tls-termination")
    authority = Authority.root()
    authority.issue(folder, "web", NAME)
    with nginx("page") as (server,), Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        yield Edge(daemon, authority.write(folder / "root.pem"))


def test_curl_is_served_and_the_backend_sees_no_tls(edge: Edge) -> None:
    assert curl(edge.daemon.ports["web"], NAME, edge.root) == "page\n"


@pytest.mark.parametrize(
    ("options", "version", "cipher"),
    [
        (
            ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            "TLSv1.2",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"), "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ],
    ids=["1.2", "1.3"],
)
def test_either_version_is_served_and_logged(
    edge: Edge, options: tuple[str, ...], version: str, cipher: str
) -> None:
    address = new_address()
    output = edge.s_client(*options, source=address)
    assert "Verify return code: 0 (ok)" in output
    assert "\npage\n" in output
    record = record_of(edge.daemon, address)
    assert (record["tls_version"], record["tls_cipher"], record["tls_client"]) == (version, cipher, None)
    assert list(record)[-3:] == ["tls_version", "tls_cipher", "tls_client"]
    assert (record["server_name"], record["client_bytes"]) == (NAME, len("GET / HTTP/1.0\r\n\r\n"))


@pytest.mark.parametrize(
    ("frontend", "options"),
    [("web", TLS_1_1), ("new", ("-tls1_2",)), ("new", TLS_1_1)],
    ids=["1.1 by default", "1.2 where the minimum is 1.3", "1.1 where the minimum is 1.3"],
)
def test_a_version_that_is_too_old_is_refused(edge: Edge, frontend: str, options: tuple[str, ...]) -> None:
    address = new_address()
    output = edge.s_client(*options, frontend=frontend, source=address)
    assert "alert protocol version" in output
    record = record_of(edge.daemon, address)
    assert (record["reason"], record["closed_by"]) == ("handshake_failed", "client")
    assert (record["attempts"], record["backend"]) == (0, None)
    assert "protocol" in record["cause"] or "version" in record["cause"]


def test_the_newest_version_is_served_where_it_is_the_least(edge: Edge) -> None:
    assert "\npage\n" in edge.s_client(frontend="new")


def test_a_client_with_no_cipher_in_common_is_refused_and_the_log_says_so(edge: Edge) -> None:
    address = new_address()
    # The certificate is an ECDSA one.
    output = edge.s_client("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", source=address)
    assert "alert handshake failure" in output
    record = record_of(edge.daemon, address)
    assert (record["reason"], record["server_name"]) == ("handshake_failed", NAME)
    assert "cipher" in record["cause"]


def test_a_protocol_that_both_know_is_chosen(edge: Edge) -> None:
    output = edge.s_client("-alpn", "h2,http/1.1")
    assert "ALPN protocol: http/1.1\n" in output
    assert "\npage\n" in output


@pytest.mark.parametrize("frontend", ["web", "new"], ids=["none in common", "none configured"])
def test_without_a_protocol_that_both_know_the_client_is_served_all_the_same(
    edge: Edge, frontend: str
) -> None:
    output = edge.s_client("-alpn", "h2,acme-tls/1", frontend=frontend)
    assert "No ALPN negotiated" in output
    assert "\npage\n" in output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_taken_up_again(edge: Edge, tmp_path: Path, version: str) -> None:
    session = tmp_path / "session.pem"
    assert "\nNew, TLSv1." in edge.s_client(version, "-sess_out", session)
    address = new_address()
    again = edge.s_client(version, "-sess_in", session, source=address)
    assert "\nReused, TLSv1." in again
    assert "\npage\n" in again
    record = record_of(edge.daemon, address)
    assert (record["server_name"], record["tls_version"]) == (NAME, version.replace("-tls1_", "TLSv1."))


def test_a_client_that_wants_to_renegotiate_is_refused(edge: Edge) -> None:
    # To s_client, a line with an R is an order.
    output = s_client(edge.daemon.ports["web"], "-tls1_2", name=NAME, say="R\n", stay=False)
    assert "RENEGOTIATING" in output
    assert "no renegotiation" in output
    assert "\npage\n" in edge.s_client()
