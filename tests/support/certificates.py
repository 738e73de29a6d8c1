"""Self-signed certificates, by openssl."""

from __future__ import annotations

from pathlib import Path

from support.process import run
from support.programs import require


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for a host name.

    :returns: its file, and that of its key.
    """
    (openssl,) = require("openssl")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    making = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    run(
        [
            *making,
            *("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-out", f"{certificate}", "-keyout", f"{key}"),
        ]
    )
    return certificate, key
