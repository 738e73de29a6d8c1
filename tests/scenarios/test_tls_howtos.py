"""The configurations of the two how-tos about TLS do what the pages say, with real servers and clients."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.certificates import Authority, Issued, new_key, write_key
from support.clients import TIMEOUT, ask
from support.daemon import Daemon
from support.documented import TREE, blocks
from support.examples import replaced
from support.nginx import Nginx, nginx

TERMINATION = TREE / "docs" / "how-to" / "tls-termination.md"
BACKENDS = TREE / "docs" / "how-to" / "tls-backends.md"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
LOG = '[access_log]\npath = "access.log"\nformat = "json"\n'

pytestmark = pytest.mark.requires("nginx")


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority.root()


@pytest.fixture(scope="module")
def authority(root: Authority) -> Authority:
    """One in between, so that chains and revocation lists are of two."""
    return root.intermediate("Between")


def configuration(page: Path, number: int, count: int, replacements: Mapping[str, str]) -> str:
    """Give a whole configuration of a page, with other addresses in it.

    :param count: how many there are; a test here runs each.
    """
    found = blocks(page, "toml", "[frontends.")
    assert len(found) == count
    return LOG + replaced(found[number], replacements, page.name)


def termination(number: int, **replacements: str) -> str:
    return configuration(TERMINATION, number, 3, replacements)


def revoke(file: Path, root: Authority, authority: Authority, *revoked: Issued) -> None:
    """Write the lists of both authorities into one file."""
    lists = authority.revoke(file, *revoked).read_bytes()
    file.write_bytes(root.revoke(file).read_bytes() + lists)


def believing(root: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=root.certificate.public_bytes(Encoding.DER))


@contextmanager
def secured(context: ssl.SSLContext, port: int, name: str) -> Iterator[ssl.SSLSocket]:
    """Connect and shake hands."""
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=name) as sock,
    ):
        yield sock


def fetch(context: ssl.SSLContext, port: int, name: str) -> str:
    """Ask for a page; give what the server answers with."""
    with secured(context, port, name) as sock:
        sock.sendall(REQUEST)
        answer = b""
        while part := sock.recv(1 << 16):
            answer += part
    return answer.decode().partition("\r\n\r\n")[2]


def shown(context: ssl.SSLContext, port: int, name: str) -> bytes | None:
    """Give the certificate that is shown to who asks for a name."""
    with secured(context, port, name) as sock:
        return sock.getpeercert(binary_form=True)


def plain(port: int) -> str:
    return ask(port, REQUEST, finish=False).decode().partition("\r\n\r\n")[2]


def test_the_smallest_termination_and_a_certificate_that_is_renewed(
    tmp_path: Path, root: Authority, authority: Authority
) -> None:
    authority.issue(tmp_path, "www", "www.example.com")
    with nginx("one", "two") as (one, two):
        places = {"0.0.0.0:443": "127.0.0.1:0", "10.0.0.11:8080": one.address, "10.0.0.12:8080": two.address}
        with Daemon(termination(0, **places), tmp_path) as daemon:
            pages = {fetch(believing(root), daemon.port, "www.example.com") for _ in range(2)}
            assert pages == {"one\n", "two\n"}
            renewed = authority.issue(tmp_path, "www", "www.example.com")
            daemon.send(signal.SIGHUP)
            daemon.wait_for_log(r"frontend web: read \S+/www\.pem, \S+/www\.key again")
            assert shown(believing(root), daemon.port, "www.example.com") == _der(renewed)
            write_key(tmp_path / "www.key", new_key())
            daemon.send(signal.SIGHUP)
            daemon.wait_for_log(
                "frontend web: files could not be read again, what was read before stays in use: the key in "
                r"\S+/www\.key does not belong to the certificate in \S+/www\.pem"
            )
            assert shown(believing(root), daemon.port, "www.example.com") == _der(renewed)


def test_certificates_by_name_and_by_kind_of_key(
    tmp_path: Path, root: Authority, authority: Authority
) -> None:
    names = "www.example.com", "*.www.example.com"
    issued = {
        "www-ecdsa": authority.issue(tmp_path, "www-ecdsa", *names),
        "www-rsa": authority.issue(tmp_path, "www-rsa", *names, kind="rsa"),
        "api": authority.issue(tmp_path, "api", "api.example.com"),
    }
    rsa_only = believing(root)
    rsa_only.maximum_version = ssl.TLSVersion.TLSv1_2
    rsa_only.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    anybody = believing(root)
    anybody.check_hostname = False
    with nginx("one", "two") as (one, two):
        places = {"10.0.0.11:8080": one.address, "10.0.0.12:8080": two.address}
        listen = {"0.0.0.0:443": "127.0.0.1:0", "[::]:443": "127.0.0.2:0"}
        with Daemon(termination(1, **places, **listen), tmp_path) as daemon:
            port = daemon.port
            assert shown(believing(root), port, "www.example.com") == _der(issued["www-ecdsa"])
            assert shown(believing(root), port, "a.www.example.com") == _der(issued["www-ecdsa"])
            assert shown(rsa_only, port, "www.example.com") == _der(issued["www-rsa"])
            assert shown(believing(root), port, "api.example.com") == _der(issued["api"])
            assert shown(anybody, port, "a.b.www.example.com") == _der(issued["www-ecdsa"])
            assert _agreed(root, port, ["h2", "http/1.1"]) == "http/1.1"
            assert _agreed(root, port, ["h2"]) is None


def _agreed(root: Authority, port: int, offered: list[str]) -> str | None:
    context = believing(root)
    context.set_alpn_protocols(offered)
    with secured(context, port, "api.example.com") as sock:
        return sock.selected_alpn_protocol()


def test_client_certificates(tmp_path: Path, root: Authority, authority: Authority) -> None:
    authority.issue(tmp_path, "admin", "admin.example.com")
    staff = {name: authority.issue_client(tmp_path, name, f"CN={name}") for name in ("ann", "bob")}
    root.write(tmp_path / "staff.pem")
    revoke(tmp_path / "staff-revoked.pem", root, authority, staff["bob"])
    with nginx("one", how="proxy_protocol", answer="$proxy_protocol_addr") as (one,):
        places = {"0.0.0.0:8443": "127.0.0.1:0", "10.0.0.15:8080": one.address}
        with Daemon(termination(2, **places), tmp_path) as daemon:
            ann, bob = (_with_certificate(root, tmp_path, name) for name in staff)
            assert fetch(ann, daemon.port, "admin.example.com") == "127.0.0.1\n"
            for refused in (bob, believing(root)):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    fetch(refused, daemon.port, "admin.example.com")
            records = daemon.wait_for_records(3)
    assert [(record["tls_client"], record["reason"], record["cause"]) for record in records] == [
        ("CN=ann", records[0]["reason"], None),
        (None, "handshake_failed", "certificate revoked"),
        (None, "handshake_failed", "peer did not return a certificate"),
    ]


def _with_certificate(root: Authority, folder: Path, name: str) -> ssl.SSLContext:
    context = believing(root)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


@contextmanager
def tls_backends(how: str, more: str, answer: str, issued: Mapping[str, Issued]) -> Iterator[list[Nginx]]:
    """Run an nginx for each certificate, which speaks TLS with it."""
    with ExitStack() as stack:
        servers = []
        for name, one in issued.items():
            pair = f"ssl_certificate {one.certificate}; ssl_certificate_key {one.key};"
            versions = "ssl_protocols TLSv1.2 TLSv1.3;"
            parameters = {"how": f"ssl {how}", "more": f"{versions} {pair} {more}", "answer": answer}
            servers += stack.enter_context(nginx(name, **parameters))
        yield servers


def test_the_smallest_with_tls_to_the_backends(tmp_path: Path, root: Authority, authority: Authority) -> None:
    issued = {name: authority.issue(tmp_path, name, "localhost") for name in ("one", "two")}
    root.write(tmp_path / "internal.pem")
    with tls_backends("", "", "$server_port $ssl_server_name", issued) as (one, two):
        places = {
            "0.0.0.0:80": "127.0.0.1:0",
            "web1.internal:443": f"localhost:{one.port}",
            "web2.internal:443": f"localhost:{two.port}",
        }
        with Daemon(configuration(BACKENDS, 0, 2, places), tmp_path) as daemon:
            pages = {plain(daemon.port) for _ in range(2)}
            assert pages == {f"{one.port} localhost\n", f"{two.port} localhost\n"}


def _between(folder: Path, root: Authority, authority: Authority, one: Nginx, two: Nginx) -> str:
    """Set up what re-encrypts."""
    authority.issue(folder, "www", "www.example.com")
    authority.issue_client(folder, "edge", "CN=edge.internal")
    root.write(folder / "internal.pem")
    revoke(folder / "internal-revoked.pem", root, authority)
    places = {"0.0.0.0:443": "127.0.0.1:0", "10.0.0.11:443": one.address, "10.0.0.12:443": two.address}
    # nginx before 1.23.3 reads no more than 107 bytes of a PROXY header that comes before TLS.
    return configuration(BACKENDS, 1, 2, {**places, "v2": "v1"})


def test_tls_on_both_sides(tmp_path: Path, root: Authority, authority: Authority) -> None:
    root.write(tmp_path / "clients.pem")
    more = f"ssl_verify_client on; ssl_verify_depth 2; ssl_client_certificate {tmp_path}/clients.pem;"
    answer = "$ssl_server_name $ssl_client_s_dn $proxy_protocol_addr"
    issued = {
        "one": authority.issue(tmp_path, "one", "a.internal"),
        "two": authority.issue(tmp_path, "two", "web.internal"),
    }
    with tls_backends("proxy_protocol", more, answer, issued) as (one, two):
        text = _between(tmp_path, root, authority, one, two)
        with Daemon(text, tmp_path) as daemon:
            pages = {fetch(believing(root), daemon.port, "www.example.com") for _ in range(2)}
    assert pages == {f"{name} CN=edge.internal 127.0.0.1\n" for name in ("a.internal", "web.internal")}


def test_a_backend_that_is_not_who_it_should_be(
    tmp_path: Path, root: Authority, authority: Authority
) -> None:
    issued = {
        "one": authority.issue(tmp_path, "one", "a.internal"),
        "two": authority.issue(tmp_path, "two", "other.internal"),
    }
    with tls_backends("proxy_protocol", "", "$ssl_server_name", issued) as (one, two):
        text = _between(tmp_path, root, authority, one, two)
        with Daemon(text, tmp_path) as daemon:
            daemon.wait_for_log(r"backend b \(.*\) is down: TLS: certificate is not for web\.internal")
            assert {fetch(believing(root), daemon.port, "www.example.com") for _ in range(3)} == {
                "a.internal\n"
            }
        # Without checks it is a dial that fails, and another backend serves.
        unchecked = text.partition("[pools.web.health]")[0]
        with Daemon(unchecked, tmp_path) as daemon:
            before = len(daemon.access_records)
            pages = {fetch(believing(root), daemon.port, "www.example.com") for _ in range(2)}
            assert pages == {"a.internal\n"}
            records = daemon.wait_for_records(before + 2)[before:]
    dials = {(record["backend"], record["attempts"], record["cause"]) for record in records}
    assert dials == {("a", 1, None), ("a", 2, "TLS: certificate is not for web.internal")}


def _der(issued: Issued) -> bytes:
    return issued.leaf.public_bytes(Encoding.DER)
