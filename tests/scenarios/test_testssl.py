"""What testssl.sh, which knows what can be wrong with TLS, finds in the settings by default."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TypeAlias

import pytest

from support.certificates import Authority
from support.daemon import Daemon
from support.nginx import nginx
from support.process import finish
from support.programs import require

Finding: TypeAlias = dict[str, str]

NAME = "web.example"

CONFIG = """
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web.tls]
certificates = [{{ cert = "ecdsa.pem", key = "ecdsa.key" }}, {{ cert = "rsa.pem", key = "rsa.key" }}]

[pools.web]
backends = ["{backend}"]
"""

# Protocols, ciphers, the server's preferences and defaults, forward secrecy, vulnerabilities.
SECTIONS = ["--protocols", "--standard", "--server-preference", "--server-defaults", "--pfs", "--vulnerable"]

HARMLESS = {"OK", "INFO", "LOW"}

# What is not about the balancer, each by the start of its name.
EXCEPTIONS = {
    ("WARN", "engine_problem"): "the openssl of this machine does not know GOST",
    ("WARN", "RC4"): "nor RC4; that is also asked without openssl, under cipherlist_LOW",
    (
        "WARN",
        "sessionresumption_ticket",
    ): "it cannot always save a session; another test does",
    ("HIGH", "cert_revocation"): "the authority is the test's own, and nobody can ask it who is revoked",
}

WITHIN = 150.0
"""Seconds; half a minute is enough on an idle machine."""

pytestmark = [
    pytest.mark.audit,
    pytest.mark.requires("testssl", "openssl", "nginx"),
    pytest.mark.timeout(WITHIN + 30),
]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    folder = tmp_path_factory.mktemp("testssl")
    root = Authority.root()
    between = root.intermediate()
    between.issue(folder, "ecdsa", NAME)
    between.issue(folder, "rsa", NAME, kind="rsa")
    with nginx("page") as (server,), Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        return scan(folder, daemon.port, root.write(folder / "root.pem"))


def scan(folder: Path, port: int, root: Path) -> list[Finding]:
    """Let it look at a port; it asks no name server and nobody else."""
    (testssl,) = require("testssl")
    result = folder / "findings.json"
    quietly = ["--quiet", "--color", "0", "--warnings", "off"]
    here = ["--nodns", "none", "--ip", "127.0.0.1", "--add-ca", f"{root}"]
    what = [*SECTIONS, "--fast", "--jsonfile", f"{result}", f"{NAME}:{port}"]
    finish([testssl, *quietly, *here, *what], WITHIN, cwd=folder, stdin=subprocess.DEVNULL)
    found: list[Finding] = json.loads(result.read_text())
    return found


def is_excepted(finding: Finding) -> bool:
    return any(
        finding["severity"] == severity and finding["id"].startswith(name) for severity, name in EXCEPTIONS
    )


def test_nothing_that_matters_is_found(findings: list[Finding]) -> None:
    assert [
        finding for finding in findings if finding["severity"] not in HARMLESS and not is_excepted(finding)
    ] == []


def test_it_has_looked_at_what_matters(findings: list[Finding]) -> None:
    eligible = {finding["id"].split()[0] for finding in findings if finding["severity"] == "OK"}
    assert eligible >= {
        "TLS1_2",
        "TLS1_3",
        "cert_chain_of_trust",
        "cert_trust",
        "cipherlist_LOW",
        "cipherlist_STRONG",
        "PFS",
        "secure_renego",
        "secure_client_renego",
        "heartbleed",
        "ROBOT",
    }
