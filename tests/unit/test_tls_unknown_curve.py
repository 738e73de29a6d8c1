"""Keys on a curve that the library does not know are a mistake like any other, and no traceback."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.certificates import self_signed
from support.process import run
from support.programs import require
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig
from tcpbalance.net.tls.examination import flaws_in_files

pytestmark = pytest.mark.requires("openssl")


def on_a_small_curve(folder: Path) -> tuple[Path, Path]:
    """Make a certificate and its key as only openssl does."""
    (openssl,) = require("openssl")
    cert, key = folder / "unusual.pem", folder / "unusual.key"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp112r1", "-noenc"]
    run([openssl, "req", "-x509", *kind, "-subj", "/CN=x", "-out", f"{cert}", "-keyout", f"{key}"])
    return cert, key


@pytest.mark.parametrize("odd", ["cert", "key"])
def test_a_curve_that_nobody_knows(tmp_path: Path, odd: str) -> None:
    usual = self_signed(tmp_path, "usual.example")
    unusual = on_a_small_curve(tmp_path)
    cert = (unusual if odd == "cert" else usual)[0]
    secret = (unusual if odd == "key" else usual)[1]
    pair = CertificateConfig(cert=FilePath(f"{cert}"), key=FilePath(f"{secret}"))
    (flaw,) = flaws_in_files(("tls",), FrontendTlsConfig(certificates=(pair,)), time.time())
    assert flaw.path == ("tls", "certificates", 0, odd)
    assert "cannot be used: " in flaw.message
