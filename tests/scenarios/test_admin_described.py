"""Each operation of the admin API, asked of a balancer that runs, answers as its description says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.admin import BACKEND_A, LOOPBACK, Admin, Stage
from support.clients import connect
from support.peers import holds, peer
from support.waiting import until

TABLES = """
[pools.web.affinity]
ttl = "10m"
[pools.web.health]
interval = "100ms"
[frontends.web.limits]
connections_per_client = 1000
ban_after = 1000
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
pool = "web"
limits = { max_requests = 5, requests_per_client = "5/s" }
"""

BACKENDS = "/api/v1/pools/web/backends"
SESSIONS = "/api/v1/sessions"


@pytest.fixture
def stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """Backends that say their names and stay."""
    with peer(holds(b"a")) as a, peer(holds(b"b")) as b:
        yield Stage(tmp_path, workers, a, b)


def closed(schema: Any) -> Any:
    """Make a schema refuse keys that it does not have."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    return (
        {**made, "additionalProperties": made.get("additionalProperties", False)}
        if "properties" in made
        else made
    )


class Described:
    """Asks, and holds what comes against the description.

    :ivar asked: the operations that have been answered.
    """

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._document = admin.get("/api/v1/openapi.json")
        self.asked: set[tuple[str, str]] = set()

    @property
    def operations(self) -> set[tuple[str, str]]:
        paths = self._document["paths"].items()
        return {(m.upper(), path) for path, item in paths for m in item if m != "parameters"}

    def _path_of(self, path: str) -> str:
        """Give the path that is meant, with names in the place of what was asked for."""
        parts = path.partition("?")[0].split("/")
        for known in self._document["paths"]:
            own = known.split("/")
            if len(own) == len(parts) and all(
                a == b or a[:1] == "{" for a, b in zip(own, parts, strict=True)
            ):
                return str(known)
        raise AssertionError(f"{path} is not described")

    def _check(self, content: Any, schema: Any) -> None:
        components = closed(self._document["components"])
        Draft202012Validator({**closed(schema), "components": components}).validate(content)

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """Ask, and give what is answered."""
        known = self._path_of(path)
        operation = self._document["paths"][known][method.lower()]
        body = operation.get("requestBody")
        if body is not None:
            self._check(content, body["content"]["application/json"]["schema"])
        status, answer = self._admin.ask(method, path, content)
        responses = operation["responses"]
        assert str(status) in responses, answer
        self._check(answer, responses[str(status)]["content"]["application/json"]["schema"])
        self.asked.add((method, known))
        return answer

    def refused(self, method: str, path: str, content: Any = None) -> None:
        """Ask for what is refused."""
        status, answer = self._admin.ask(method, path, content)
        assert status >= 400
        self._check(answer, self._document["components"]["schemas"]["Error"])


def test_each_operation_answers_as_it_is_described(stage: Stage) -> None:
    with stage.daemon(LOOPBACK, TABLES) as daemon, connect(daemon.ports["web"]) as client:
        client.recv(1)
        admin = Admin(daemon)
        described = Described(admin)
        ask = described.ask
        until(lambda: admin.get(BACKEND_A)["last_check"], "a check")
        until(lambda: admin.get(SESSIONS)["sessions"], "a session")
        for path in (
            "status",
            "view",
            "frontends",
            "frontends/web",
            "pools",
            "pools/web",
            "config",
            "plan",
            "openapi.json",
        ):
            ask("GET", f"/api/v1/{path}")
        ask("GET", BACKEND_A)
        assert ask("GET", f"{BACKEND_A}/health")["checks"]
        session = ask("GET", f"{SESSIONS}?limit=1&min_age=0")["sessions"][0]["id"]
        ask("GET", f"{SESSIONS}/{session}")
        ask("DELETE", f"{SESSIONS}/{session}", {})
        ask("PATCH", BACKEND_A, {"state": "drain", "deadline": "5m", "weight": 2})
        ask("POST", BACKENDS, {"address": "127.0.0.1:1", "name": "c", "max_connections": None})
        assert ask("GET", "/api/v1/plan")["plan"]["removed"]
        ask("DELETE", f"{BACKENDS}/c", {})
        ask("POST", "/api/v1/bans", {"frontend": "web", "client": "192.0.2.1", "for": "5m"})
        assert ask("GET", "/api/v1/bans?frontend=web")["bans"]
        ask("DELETE", "/api/v1/bans/192.0.2.1", {})
        # A worker sends the supervisor what it remembers four times a second.
        until(lambda: admin.get("/api/v1/affinity")["affinity"], "a client that is remembered")
        assert ask("GET", "/api/v1/affinity?pool=web")["affinity"]
        assert ask("DELETE", "/api/v1/affinity?client=127.0.0.1", {})["forgotten"] == 1
        ask("PUT", "/api/v1/debug_clients", {"debug_clients": ["192.0.2.1"]})
        assert ask("GET", "/api/v1/debug_clients")["debug_clients"] == ["192.0.2.1/32"]
        assert ask("GET", "/api/v1/explain?frontend=web&client=127.0.0.1")["pool"]["candidates"]
        assert ask("GET", "/api/v1/explain?request=http://a.example/x")["request"]["sent"]
        assert ask("GET", "/api/v1/explain?request=TRACE%20http://a.example/")["request"]["status"] == 405
        assert ask("GET", "/api/v1/log")["level"] == "info"
        ask("PATCH", "/api/v1/log", {"level": "warn"})
        ask("POST", "/api/v1/reload", {})
        assert ask("GET", "/api/v1/events?since=0")["events"]
        assert described.operations - described.asked == {("GET", "/metrics")}

        described.refused("GET", "/api/v1/nothing")
        described.refused("PATCH", BACKEND_A, {"weight": 0})
        daemon.config_file.write_text("[frontends]\n")
        described.refused("POST", "/api/v1/reload", {})
        described.refused("GET", "/api/v1/plan")
        assert ask("GET", "/api/v1/status")["config"]["error"]
