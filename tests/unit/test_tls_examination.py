"""What is wrong with the files of a table is found before anything starts, each at its key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.certificates import AN_HOUR_AGO, NOW, Authority
from support.process import run
from support.programs import require
from support.tls_lines import frontend_tls, pair_of
from tcpbalance.config.errors import Severity
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import PoolTlsConfig, TlsConfig
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.examination import mistakes_in_files
from tcpbalance.net.tls.server import ServerTls

NAME = "web.example"


def mistakes(config: TlsConfig) -> list[tuple[object, str]]:
    """Give the keys that are to blame, and what is said."""
    return [(mistake.path, mistake.message) for mistake in mistakes_in_files(("tls",), config)]


def severities(config: TlsConfig, now: float | None = None) -> list[tuple[object, Severity]]:
    """Give the keys that are to blame, and what that prevents."""
    return [(mistake.path[1], mistake.severity) for mistake in mistakes_in_files(("tls",), config, now)]


@pytest.mark.parametrize("end", ["frontend", "pool"])
def test_an_authority_without_a_revocation_list(tmp_path: Path, end: str) -> None:
    authority = Authority.root()
    issued = authority.issue(tmp_path, "web", NAME)
    ca = FilePath(authority.write(tmp_path / "ca.pem"))
    crl = FilePath(authority.revoke(tmp_path / "crl.pem"))
    config, key = (
        (frontend_tls(issued, client_ca=ca, client_crl=crl), "client_crl")
        if end == "frontend"
        else (PoolTlsConfig(ca=ca, crl=crl, certificate=pair_of(issued)), "crl")
    )
    assert mistakes(config) == []
    Authority.root("Another").revoke(Path(crl))
    said = f"{crl} has no list of CN=Root: all that it has certified would be refused"
    assert mistakes(config) == [(("tls", key), said)]


def test_authorities_that_cannot_be_read_are_told_once(tmp_path: Path) -> None:
    """And the list is looked at all the same."""
    crl = FilePath(Authority.root().revoke(tmp_path / "crl.pem"))
    missing = FilePath(tmp_path / "missing.pem")
    said = f"cannot read {missing}: no such file or directory"
    assert mistakes(PoolTlsConfig(ca=missing, crl=crl)) == [(("tls", "ca"), said)]
    Path(crl).write_text("")
    assert [path for path, _ in mistakes(PoolTlsConfig(ca=missing, crl=crl))] == [
        ("tls", "ca"),
        ("tls", "crl"),
    ]


@pytest.mark.requires("openssl")
def test_authorities_of_which_clients_would_not_be_told(tmp_path: Path) -> None:
    (openssl,) = require("openssl")
    authority = Authority.root()
    issued, plain = authority.issue(tmp_path, "web", NAME), authority.write(tmp_path / "plain.pem")
    ca = FilePath(tmp_path / "trusted.pem")
    run([openssl, "x509", "-in", plain, "-trustout", "-out", ca])
    config = frontend_tls(issued, client_ca=ca)
    said = f"{ca} has a BEGIN TRUSTED CERTIFICATE, which clients would not receive: write each of these "
    assert mistakes(config) == [(("tls", "client_ca"), f"{said}anew by openssl x509 -in OLD -out NEW")]
    with pytest.raises(TlsFileError, match="would not receive"):
        ServerTls(config)
    assert mistakes(PoolTlsConfig(ca=ca)) == []


@pytest.mark.parametrize("how", [{"not_after": AN_HOUR_AGO}, {"not_before": NOW + timedelta(hours=1)}])
def test_a_certificate_that_is_out_of_date_does_not_stop_the_start(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    issued = Authority.root().issue(tmp_path, "web", NAME, **how)
    assert severities(frontend_tls(issued)) == [("certificates", Severity.ERROR)]
    assert severities(PoolTlsConfig(certificate=pair_of(issued))) == [("certificate", Severity.ERROR)]


def test_one_authority_of_several_that_has_expired_is_a_warning(tmp_path: Path) -> None:
    ca = Authority.root().write(tmp_path / "ca.pem")
    config, late = PoolTlsConfig(ca=FilePath(ca)), (NOW + timedelta(days=3651)).timestamp()
    assert severities(config, late) == [("ca", Severity.ERROR)]
    lasting = Authority.root("Lasting", until=NOW + timedelta(days=4000)).write(tmp_path / "lasting.pem")
    ca.write_bytes(ca.read_bytes() + lasting.read_bytes())
    assert severities(config, late) == [("ca", Severity.WARNING)]


def test_revocation_lists_that_are_out_of_date(tmp_path: Path) -> None:
    used, unused = Authority.root(), Authority.root("Unused")
    ca, crl = used.write(tmp_path / "ca.pem"), tmp_path / "crl.pem"
    config = PoolTlsConfig(ca=FilePath(ca), crl=FilePath(crl))
    current = used.revoke(crl).read_bytes()
    old = used.revoke(crl, until=AN_HOUR_AGO).read_bytes()
    assert severities(config) == [("crl", Severity.ERROR)]
    crl.write_bytes(old + current)
    assert severities(config) == [("crl", Severity.WARNING)]
    crl.write_bytes(current + unused.revoke(tmp_path / "x.pem", until=AN_HOUR_AGO).read_bytes())
    assert severities(config) == [("crl", Severity.WARNING)]
    crl.write_bytes(current + used.revoke(tmp_path / "x.pem", delta=True).read_bytes())
    assert severities(config) == [("crl", Severity.FATAL)]
