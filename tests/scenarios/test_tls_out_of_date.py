"""What is out of date spoils nothing beside it: everything else is served, and `tcpbalance check` says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import AN_HOUR_AGO, Authority
from support.daemon import Daemon
from support.nginx import nginx
from support.process import run
from support.programs import require
from support.tls_clients import common_name, curl, s_client
from tcpbalance.cli import main

CONFIG = """
[frontends.plain]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web.tls]
certificates = [
  {{ cert = "good.pem", key = "good.key" }},
  {{ cert = "expired.pem", key = "expired.key" }},
  {{ cert = "pss.pem", key = "pss.key" }},
]

[frontends.safe]
listen = "127.0.0.1:0"
pool = "web"

[frontends.safe.tls]
certificates = [{{ cert = "good.pem", key = "good.key" }}]
client_ca = "clients.pem"
client_crl = "crl.pem"

[pools.web]
backends = ["{backend}"]
"""

pytestmark = pytest.mark.requires("nginx", "openssl", "curl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates, one of them expired, and of revocation lists, one of them expired."""
    folder = tmp_path_factory.mktemp("tls-out-of-date")
    authority, clients = Authority.root(), Authority.root("Clients")
    authority.write(folder / "root.pem")
    authority.issue(folder, "good", "good.example")
    authority.issue(folder, "expired", "expired.example", not_after=AN_HOUR_AGO)
    (openssl,) = require("openssl")
    run([openssl, "genpkey", "-algorithm", "RSA-PSS", "-out", folder / "pss.key"])
    names = ["-subj", "/CN=pss.example", "-addext", "subjectAltName=DNS:pss.example"]
    run([openssl, "req", "-x509", "-key", folder / "pss.key", "-out", folder / "pss.pem", *names])
    clients.write(folder / "clients.pem")
    clients.issue_client(folder, "alice", "CN=alice")
    old = clients.revoke(folder / "crl.pem", until=AN_HOUR_AGO).read_bytes()
    (folder / "crl.pem").write_bytes(old + clients.revoke(folder / "x.pem").read_bytes())
    return folder


@pytest.fixture(scope="module")
def config() -> Iterator[str]:
    """The configuration of all balancers here, with a backend that runs."""
    with nginx("page") as (server,):
        yield CONFIG.format(backend=server.address)


@pytest.fixture(scope="module")
def daemon(config: str, folder: Path) -> Iterator[Daemon]:
    with Daemon(config, folder) as daemon:
        yield daemon


def plain(daemon: Daemon) -> str:
    (program,) = require("curl")
    return run([program, "-sS", "--max-time", "10", f"http://127.0.0.1:{daemon.ports['plain']}/"])


def test_all_else_is_served_beside_an_expired_certificate(daemon: Daemon) -> None:
    daemon.wait_for_log(
        r"warn.*frontend web: the certificate in \S+/expired.pem expired on \S+ \S+ UTC, renew it"
    )
    assert plain(daemon) == "page\n"
    assert curl(daemon.ports["web"], "good.example", daemon.folder / "root.pem") == "page\n"
    assert daemon.log.count("expired.pem") == 1


def test_the_expired_one_is_shown_and_clients_decide(daemon: Daemon) -> None:
    port, root = daemon.ports["web"], daemon.folder / "root.pem"
    assert common_name(s_client(port, name="expired.example")) == "expired.example"
    assert curl(port, "expired.example", root, "--insecure") == "page\n"
    with pytest.raises(AssertionError, match="certificate has expired"):
        curl(port, "expired.example", root)


def test_a_certificate_with_an_rsa_pss_key_is_served(daemon: Daemon) -> None:
    pss = daemon.folder / "pss.pem"
    for version in ("--tls-max", "1.2"), ("--tlsv1.3",):
        assert curl(daemon.ports["web"], "pss.example", pss, *version) == "page\n"


def test_an_expired_list_beside_its_successor_keeps_nobody_out(daemon: Daemon) -> None:
    daemon.wait_for_log(r"frontend safe: the revocation list of CN=Clients in \S+ expired on .*left out")
    alice = ("--cert", daemon.folder / "alice.pem", "--key", daemon.folder / "alice.key")
    assert curl(daemon.ports["safe"], "good.example", daemon.folder / "root.pem", *alice) == "page\n"


def test_check_names_it_and_fails(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{daemon.config_file}"]) == 1
    expired, left_out = capsys.readouterr().err.splitlines()
    assert "frontends.web.tls.certificates[1].cert: the certificate in " in expired
    assert ": warning: frontends.safe.tls.client_crl: the revocation list of CN=Clients in " in left_out


@pytest.mark.requires("faketime")
def test_a_clock_that_starts_in_1971_stops_nothing(config: str, folder: Path) -> None:
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    then = {
        "LD_PRELOAD": f"{library}",
        "FAKETIME": "@1971-01-01 00:00:00",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Daemon(config, folder, environment=then) as daemon:
        daemon.wait_for_log(r"frontend web: the certificate in \S+/good.pem is not valid before ")
        daemon.wait_for_log(r"frontend safe: the revocation list of CN=Clients in \S+ is not valid before ")
        assert plain(daemon) == "page\n"
        assert curl(daemon.ports["web"], "good.example", folder / "root.pem") == "page\n"
