"""What is kept of a client's certificate, however much there is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from support.certificates import NOW, Authority, Issued
from support.tls_lines import client_context, client_in_memory, frontend_tls, shake
from tcpbalance.config.paths import FilePath
from tcpbalance.net.tls.facts import MAX_SUBJECT, TlsFacts, facts_of
from tcpbalance.net.tls.server import ServerTls

pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length")


def facts_of_a_client(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> TlsFacts:
    """Let a client with a common name come, of any length."""
    authority = Authority.root()
    # RFC 5280 allows 64 characters, OpenSSL any number.
    odd = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name, _validate=False)])
    monkeypatch.setattr(x509.Name, "from_rfc4514_string", lambda text: odd)
    client: Issued = authority.issue_client(folder, "client", "CN=client")
    ca = FilePath(authority.write(folder / "ca.pem"))
    server = ServerTls(frontend_tls(authority.issue(folder, "web", "web.example"), client_ca=ca))
    context = client_context()
    context.use_certificate_chain_file(str(client.certificate))
    context.use_privatekey_file(str(client.key))
    connection = server.connection()
    shake(client_in_memory(context), connection)
    return facts_of(connection, NOW.timestamp())


@pytest.mark.parametrize("size", [1, 64, MAX_SUBJECT - 3])
def test_a_name_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    facts = facts_of_a_client(tmp_path, monkeypatch, "a" * size)
    assert (facts.subject, facts.common_name) == ("CN=" + "a" * size, "a" * size)


@pytest.mark.parametrize("size", [MAX_SUBJECT + 1, 10_000])
def test_a_very_long_one_is_shortened_for_logs_and_left_out_for_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    facts = facts_of_a_client(tmp_path, monkeypatch, "a" * size)
    assert facts.subject == "CN=" + "a" * (MAX_SUBJECT - 3) + "..."
    assert facts.common_name is None
