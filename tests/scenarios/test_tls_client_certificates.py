"""Clients that have to show a certificate: who is served, who is refused, and what the log says of either."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from support.certificates import AN_HOUR_AGO, Authority, self_signed
from support.clients import connect
from support.daemon import Daemon
from support.nginx import nginx
from support.tls_clients import REQUEST, new_address, record_of, s_client

NAME = "web.example"
ALICE, ZOE = "CN=alice,O=Example", r"CN=Smith\, Zoë,OU=R\+D,O=Example"

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]
client_ca = "clients.pem"
client_crl = "crl.pem"

[pools.web]
backends = ["{backend}"]
"""

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

# What the log has to say about each who is refused.
CAUSES = {
    None: "certificate",
    "self": "self.signed",
    "expired": "expired",
    "stranger": "issuer|authority|unknown ca|self.signed",
    "impostor": "signature|issuer|authority|unknown ca",
    "revoked": "revoked",
}

pytestmark = pytest.mark.requires("nginx", "openssl")


@frozen
class Edge:
    """A balancer whose clients show certificates, which lie in its folder."""

    daemon: Daemon
    root: Path

    def context(self, client: str | None, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Give what a client of a name needs."""
        context = ssl.create_default_context(cafile=f"{self.root}")
        context.minimum_version = context.maximum_version = version
        if client is not None:
            context.load_cert_chain(
                self.root.with_name(f"{client}.pem"), self.root.with_name(f"{client}.key")
            )
        return context


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("tls-client-certificates")
    servers, clients = Authority.root(), Authority.root("Clients")
    servers.issue(folder, "web", NAME)
    clients.issue_client(folder, "alice", ALICE)
    clients.issue_client(folder, "zoe", ZOE)
    clients.issue_client(folder, "expired", "CN=expired", not_after=AN_HOUR_AGO)
    clients.revoke(folder / "crl.pem", clients.issue_client(folder, "revoked", "CN=revoked"))
    # The authority of the server's certificate is none for clients; and one may call itself by any name.
    servers.issue_client(folder, "stranger", ALICE)
    Authority.root("Clients").issue_client(folder, "impostor", ALICE)
    for file, suffix in zip(self_signed(folder, "alice.example"), (".pem", ".key"), strict=True):
        file.rename(folder / f"self{suffix}")
    clients.write(folder / "clients.pem")
    with nginx("page") as (server,), Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        yield Edge(daemon, servers.write(folder / "root.pem"))


def visit(
    edge: Edge, client: str | None, version: ssl.TLSVersion, address: str, say: bytes = REQUEST
) -> bytes:
    """Show a certificate, ask for a page, and read all there is to read."""
    with (
        connect(edge.daemon.port, address) as sock,
        edge.context(client, version).wrap_socket(sock, server_hostname=NAME) as tls,
    ):
        tls.sendall(say)
        with tls.makefile("rb") as answer:
            return answer.read()


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize(("client", "subject"), [("alice", ALICE), ("zoe", ZOE)])
def test_a_client_with_a_certificate_is_served_and_known_by_its_subject(
    edge: Edge, client: str, subject: str, version: ssl.TLSVersion
) -> None:
    address = new_address()
    assert visit(edge, client, version, address).endswith(b"\r\n\r\npage\n")
    record = record_of(edge.daemon, address)
    assert (record["tls_client"], record["attempts"]) == (subject, 1)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("client", CAUSES, ids=str)
def test_any_other_client_is_told_no_and_the_log_says_why(
    edge: Edge, client: str | None, version: ssl.TLSVersion
) -> None:
    address = new_address()
    # In TLS 1.3 a client is done with its handshake before it hears what the server thinks of it.
    with pytest.raises(ssl.SSLError) as refused:
        visit(edge, client, version, address, say=b"")
    assert "ALERT" in refused.value.reason
    record = record_of(edge.daemon, address)
    assert (record["reason"], record["closed_by"]) == ("handshake_failed", "client")
    assert (record["attempts"], record["tls_client"]) == (0, None)
    assert re.search(CAUSES[client], record["cause"], re.IGNORECASE)


def test_clients_are_told_which_authority_is_believed(edge: Edge) -> None:
    output = s_client(edge.daemon.port, name=NAME)
    assert re.search(r"Acceptable client certificate CA names\nCN ?= ?Clients\n", output)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_that_is_taken_up_again_is_still_that_client_s(
    edge: Edge, tmp_path: Path, version: str
) -> None:
    session, address = tmp_path / "session.pem", new_address()
    folder = edge.root.parent
    alice = ("-cert", folder / "alice.pem", "-key", folder / "alice.key")
    first = s_client(edge.daemon.port, version, *alice, "-sess_out", session, name=NAME)
    assert "\npage\n" in first
    again = s_client(edge.daemon.port, version, "-sess_in", session, name=NAME, source=address)
    assert "\nReused, TLSv1." in again
    assert "\npage\n" in again
    assert record_of(edge.daemon, address)["tls_client"] == ALICE
