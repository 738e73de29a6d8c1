"""A backend that is an address of the machine, where the configuration alone does not show it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.daemon import TCPBALANCE
from support.process import finish

CONFIG = """\
[frontends.web]
listen = "0.0.0.0:8080"
pool = "web"
[pools.web]
backends = ["10.77.0.1:8080"]
"""

NETWORK = 'ip link set lo up && ip address add 10.77.0.1/32 dev lo && exec "$@"'


@pytest.mark.requires("unshare", "ip")
def test_the_address_is_found_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(CONFIG)
    check: list[str | Path] = [TCPBALANCE, "check", "a.toml"]
    namespace = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net"]
    elsewhere = finish(check, cwd=tmp_path)
    assert elsewhere.returncode == 0, elsewhere.stderr
    there = finish([*namespace, "sh", "-c", NETWORK, "sh", *check], cwd=tmp_path)
    assert there.returncode == 1
    assert there.stderr.startswith("a.toml:5: pools.web.backends[0]: 10.77.0.1:8080 is where frontends.web ")
