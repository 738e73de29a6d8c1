"""A backend that is an address of the machine, where the configuration alone does not show it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from support.command import command
from support.daemon import TCPBALANCE, Daemon
from support.name_server import FakeNameServer
from support.ports import free_port
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


BY_NAME = """\
[resolver]
servers = ["{server}"]

[frontends.web]
listen = "127.0.0.1:{port}"
pool = "web"
[pools.web]
backends = ["own.test:{port}", "far.test:{port}"]
"""


def test_a_name_that_leads_back_is_told_of(tmp_path: Path) -> None:
    """By the check, and by the balancer that runs in spite of it."""
    port = free_port()
    with FakeNameServer() as server:
        server.addresses |= {"own.test": ["127.0.0.1"], "far.test": ["127.0.0.2"]}
        daemon = Daemon(BY_NAME.format(server=server.address, port=port), tmp_path)
        checked = command("check", daemon.config_file)
        message = f"pools.web.backends[0]: own.test:{port} is where frontends.web listens, "
        assert (checked.returncode, checked.stdout) == (1, "")
        assert checked.stderr.startswith(f"{daemon.config_file}:8: {message}")
        assert checked.stderr.count("\n") == 1
        with daemon:
            daemon.wait_for_log(re.escape(f"error] {message}"))
            assert "backends[1]" not in daemon.log
