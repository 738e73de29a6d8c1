"""The configuration of a balancer that runs, as its admin side shows it."""

from __future__ import annotations

import json
import signal

from support.admin import LOOPBACK, Admin, Stage
from support.waiting import until

TOKEN = "0123456789abcdef-full"
CHECKS = """
retries = 1
health = { check = "expect", contains = "a", send = "AUTH hunter2", interval = "1h" }
"""


def test_it_is_that_which_runs_without_secrets(stage: Stage, workers: int) -> None:
    file = stage.folder / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    access = f'{LOOPBACK}\ntoken_file = "token"'
    with stage.daemon(access, more=CHECKS) as daemon:
        admin = Admin(daemon, TOKEN)
        config = admin.get("/api/v1/config")
        assert (config["workers"], config["shutdown_grace"]) == (workers, "30s")
        assert config["admin"]["token_file"] == str(file)
        assert config["access_log"]["path"] == str(stage.folder / "access.log")
        web = config["pools"]["web"]
        assert [backend["name"] for backend in web["backends"]] == ["a", "b"]
        assert (web["retries"], web["health"]["send"], web["health"]["interval"]) == (1, "(hidden)", "1h")
        assert "hunter2" not in json.dumps(config)
        assert TOKEN not in json.dumps(config)

        other = CHECKS.replace("retries = 1", "retries = 2").replace("hunter2", "hunter3")
        daemon.config_file.write_text(stage.config(access, more=other))
        assert admin.get("/api/v1/config") == config
        plan = admin.get("/api/v1/plan")
        assert {change["key"] for change in plan["plan"]["changed"]} == {
            "pools.web.retries",
            "pools.web.health.send",
        }
        daemon.send(signal.SIGHUP)
        until(lambda: admin.get("/api/v1/config")["pools"]["web"]["retries"] == 2, "another configuration")
        daemon.wait_for_log(r"pools\.web\.health\.send: ")
        assert "hunter" not in json.dumps(plan) + daemon.log
