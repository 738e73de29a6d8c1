"""What the description of the admin API allows and forbids, asked by schemathesis of a balancer that runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from support.admin import BACKEND_A, LOOPBACK, Admin, Stage
from support.clients import ask
from support.programs import in_ci

TOKEN = "0123456789abcdef-full"

TABLES = """
[pools.web.affinity]
[pools.web.health]
interval = "100ms"
[frontends.web.limits]
connections_per_client = 1000
ban_after = 1000
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
pool = "web"
"""

NAMES = """
[parameters]
"path.frontend" = "web"
"path.pool" = "web"
"path.backend" = "a"
"path.client" = "192.0.2.1"
"query.frontend" = "web"
"query.client" = "192.0.2.1"
"""
"""Where they are made up, nearly all requests are refused for that alone."""

SAYS_LESS = (
    # A pattern could say neither that no bit of a network is set behind its prefix, nor all that makes an
    # address, a name of a host, a URL or a header. What these refuse is held by tests of their own.
    "POST /api/v1/bans",
    "PUT /api/v1/debug_clients",
    "POST /api/v1/pools/{pool}/backends",
    "GET /api/v1/explain",
)
"""Operations of which the description cannot say all that is refused."""

NOT_HELD = "".join(
    f'[[operations]]\ninclude-name = "{name}"\nchecks.positive_data_acceptance.enabled = false\n'
    for name in SAYS_LESS
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None and not in_ci(), reason="not installed: schemathesis"
)


@pytest.mark.timeout(180)
def test_each_request_is_answered_as_it_is_described(stage: Stage) -> None:
    token = stage.folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    (stage.folder / "schemathesis.toml").write_text(NAMES + NOT_HELD)
    with stage.daemon(f'{LOOPBACK}\ntoken_file = "token"', TABLES) as daemon:
        admin = Admin(daemon, TOKEN)
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                f"http://127.0.0.1:{admin.port}/api/v1/openapi.json",
                f"--header=Authorization: Bearer {TOKEN}",
                "--phases=coverage,fuzzing",
                "--max-examples=10",
                "--generation-deterministic",
                "--no-color",
            ],
            capture_output=True,
            check=False,
            cwd=stage.folder,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # What was asked has harmed neither side.
        for state in ("ready", "drain"):
            assert admin.ask("PATCH", BACKEND_A, {"state": state})[0] in (200, 404)
        assert admin.get("/api/v1/status")["access"] == "full"
        assert ask(daemon.ports["web"]) in (b"a", b"b")
