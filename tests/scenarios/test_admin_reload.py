"""Reloads at the request of an operator, and what one would change."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

from support.admin import BACKEND_A, Admin, Stage
from support.daemon import Daemon
from support.waiting import until

BACKENDS = "/api/v1/pools/web/backends"

RETRIES = {"key": "pools.web.retries", "old": 2, "new": 7, "effect": "for new connections"}


def with_retries(daemon: Daemon, key: str = "retries") -> None:
    """Change the file."""
    text = daemon.config_file.read_text()
    daemon.config_file.write_text(text.replace("[pools.web]\n", f"[pools.web]\n{key} = 7\n"))


def config_of(admin: Admin) -> dict[str, Any]:
    found: dict[str, Any] = admin.get("/api/v1/status")["config"]
    return found


def test_a_reload_says_what_it_has_changed(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        before = config_of(admin)
        assert (before["revision"], before["error"]) == (1, None)
        assert Path(before["path"]).samefile(daemon.config_file)
        with_retries(daemon)
        assert admin.get("/api/v1/plan")["plan"]["changed"] == [RETRIES]
        assert config_of(admin) == before
        status, answer = admin.ask("POST", "/api/v1/reload", {})
        assert (status, answer["summary"]) == (200, "changes: 1 key")
        assert answer["plan"]["changed"] == [RETRIES]
        assert (answer["config"]["revision"], answer["config"]["error"]) == (2, None)
        assert answer["config"]["loaded"] > before["loaded"]
        assert config_of(admin) == answer["config"]
        assert admin.get("/api/v1/plan")["summary"] == "no change"
        status, answer = admin.ask("POST", "/api/v1/reload", {})
        assert (status, answer["summary"], answer["config"]["revision"]) == (200, "no change", 2)
        daemon.wait_for_log(r"admin: 127\.0\.0\.1:\d+ has the configuration file read again: done")


def test_a_file_with_mistakes_is_refused_with_all_of_them(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        with_retries(daemon, "retrys")
        daemon.config_file.write_text(daemon.config_file.read_text() + "\n[pools.web.health]\nfall = 0\n")
        for method, path in (("GET", "/api/v1/plan"), ("POST", "/api/v1/reload")):
            status, answer = admin.ask(method, path, None if method == "GET" else {})
            error = answer["error"]
            assert (status, error["code"]) == (422, "config_mistakes")
            keys = [(mistake["key"], mistake["line"] > 0) for mistake in error["mistakes"]]
            assert keys == [("pools.web.retrys", True), ("pools.web.health.fall", True)]
            assert all(mistake["message"] in error["message"] for mistake in error["mistakes"])
        found = config_of(admin)
        assert (found["revision"], found["error"]["message"]) == (1, error["message"])


def test_an_address_that_cannot_be_had_is_a_refusal(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, stage.daemon() as daemon:
        admin = Admin(daemon)
        where = f"127.0.0.1:{other.getsockname()[1]}"
        more = f'[frontends.more]\nlisten = "{where}"\npool = "web"\n'
        daemon.config_file.write_text(f"{daemon.config_file.read_text()}\n{more}")
        assert admin.get("/api/v1/plan")["plan"]["listeners_opened"] == [where]
        status, answer = admin.ask("POST", "/api/v1/reload", {})
        assert (status, answer["error"]["code"]) == (409, "refused")
        assert f"cannot listen on {where}: address already in use" in answer["error"]["message"]


def test_what_an_operator_has_changed_is_drift_that_a_reload_takes_back(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.ask("PATCH", BACKEND_A, {"weight": 3})[0] == 200
        assert admin.ask("POST", BACKENDS, {"address": "127.0.0.1:1", "name": "c"})[0] == 201
        assert config_of(admin)["revision"] == 3
        plan = admin.get("/api/v1/plan")["plan"]
        assert list(plan["removed"]) == ["pools.web.backends.c"]
        (change,) = plan["changed"]
        assert (change["key"], change["old"], change["new"]) == ("pools.web.backends.a.weight", 3, 1)
        assert admin.ask("POST", "/api/v1/reload", {})[0] == 200
        assert admin.get("/api/v1/plan")["summary"] == "no change"
        assert [
            (its["name"], its["weight"]) for its in admin.get(BACKENDS.removesuffix("/backends"))["backends"]
        ] == [
            ("a", 1),
            ("b", 1),
        ]


def test_states_that_were_set_at_run_time_are_shown_with_what_a_reload_does_to_them(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.get("/api/v1/plan")["plan"]["run_time"] == []
        assert admin.ask("PATCH", BACKEND_A, {"state": "drain"})[0] == 200
        order = admin.get(BACKEND_A)["state_order"]
        assert re.fullmatch(r"127\.0\.0\.1:\d+", order["by"])
        drained = {
            "key": "pools.web.backends.a.state",
            "value": "drain",
            "file": "ready",
            "after_reload": "drain",
            **order,
        }
        found = admin.get("/api/v1/plan")
        assert (found["summary"], found["plan"]["run_time"]) == ("no change", [drained])
        # The same again is no other order.
        assert admin.ask("PATCH", BACKEND_A, {"state": "drain"})[1]["state_order"] == order
        status, reloaded = admin.ask("POST", "/api/v1/reload", {})
        assert (status, reloaded["plan"]["run_time"]) == (200, [drained])
        assert admin.get(BACKEND_A)["admin_state"] == "drain"

        with_state(daemon, "a", "maintenance")
        plan = admin.get("/api/v1/plan")["plan"]
        assert plan["run_time"] == [{**drained, "file": "maintenance", "after_reload": "maintenance"}]
        assert admin.ask("POST", "/api/v1/reload", {})[1]["plan"]["run_time"] == []
        state = admin.get(BACKEND_A)
        assert (state["admin_state"], state["state_order"]) == ("maintenance", None)


def test_a_backend_at_another_address_begins_as_the_file_says(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.ask("PATCH", BACKEND_A, {"state": "maintenance"})[0] == 200
        text = daemon.config_file.read_text()
        daemon.config_file.write_text(text.replace(stage.a.address, "127.0.0.1:1"))
        (moved,) = admin.get("/api/v1/plan")["plan"]["run_time"]
        assert (moved["value"], moved["after_reload"]) == ("maintenance", "ready")
        assert admin.ask("POST", "/api/v1/reload", {})[1]["plan"]["run_time"] == []
        assert admin.get(BACKEND_A)["admin_state"] == "ready"


def test_a_backend_that_the_file_does_not_have_any_more_is_no_such_state(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.ask("POST", BACKENDS, {"address": "127.0.0.1:1", "name": "c"})[0] == 201
        assert admin.ask("PATCH", f"{BACKENDS}/c", {"state": "drain"})[0] == 200
        plan = admin.get("/api/v1/plan")["plan"]
        assert (list(plan["removed"]), plan["run_time"]) == (["pools.web.backends.c"], [])


def with_state(daemon: Daemon, backend: str, state: str) -> None:
    """Give a backend a state in the file."""
    text = daemon.config_file.read_text()
    daemon.config_file.write_text(
        text.replace(f'{{ name = "{backend}",', f'{{ name = "{backend}", state = "{state}",')
    )


def test_reloads_that_are_asked_for_together_all_see_the_file_as_it_is_then(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        connections = [admin.connection() for _ in range(5)]
        for connection in connections:
            connection.request("POST", "/api/v1/reload", "{}", {"Content-Type": "application/json"})
        with_retries(daemon)
        assert admin.ask("POST", "/api/v1/reload", {})[0] == 200
        assert [connection.getresponse().status for connection in connections] == [200] * 5
        assert admin.get("/api/v1/plan")["summary"] == "no change"


def test_a_file_that_hangs_is_said_and_holds_nothing_up(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        text = daemon.config_file.read_text()
        daemon.config_file.unlink()
        os.mkfifo(daemon.config_file)
        reload = admin.connection()
        reload.request("POST", "/api/v1/reload", "{}", {"Content-Type": "application/json"})
        plan = admin.connection()
        plan.request("GET", "/api/v1/plan")
        until(lambda: admin.ask("GET", "/api/v1/plan")[0] == 503, "one that is being read already")
        assert config_of(admin)["revision"] == 1
        answer = reload.getresponse()
        assert (answer.status, b"has not ended for 10 s" in answer.read()) == (409, True)
        daemon.config_file.write_text(text)
        # Two read the pipe, and each gets a part of what is written.
        assert plan.getresponse().status in (200, 422)
