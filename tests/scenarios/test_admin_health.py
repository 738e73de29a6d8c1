"""The results of health checks of a balancer that runs, as its admin side shows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.admin import BACKEND_A, Admin, Stage
from support.clients import ask
from support.peers import Peer, named
from support.waiting import until

CHECKS = 'health = { check = "tcp", interval = "100ms", timeout = "2s", fall = 2, rise = 1 }'
HEALTH_A = f"{BACKEND_A}/health"


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    with named("a", "b") as both:
        yield both


@pytest.fixture
def stage(tmp_path: Path, workers: int, peers: list[Peer]) -> Stage:
    a, b = peers
    return Stage(tmp_path, workers, a, b)


def test_without_checks_there_are_no_results(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.get(HEALTH_A) == {"pool": "web", "backend": "a", "checks": []}
        assert admin.get(BACKEND_A)["last_check"] is None


def test_each_check_is_shown_with_its_cause(stage: Stage, peers: list[Peer]) -> None:
    with stage.daemon(more=CHECKS) as daemon:
        admin = Admin(daemon)

        def results() -> list[Any]:
            found: list[Any] = admin.get(HEALTH_A)["checks"]
            return found

        until(lambda: len(results()) >= 3, "three checks")
        before = results()
        assert {(check["passed"], check["cause"]) for check in before} == {(True, "")}
        times = [datetime.fromisoformat(check["time"]) for check in before]
        assert times == sorted(times, reverse=True)
        assert abs((datetime.now(UTC) - times[0]).total_seconds()) < 60
        assert all(0 < check["seconds"] < 2 for check in before)
        assert admin.get(BACKEND_A)["last_check"]["passed"] is True

        peers[0].end()
        until(lambda: admin.get(BACKEND_A)["state"] == "down", "down")
        assert results()[0]["passed"] is False
        assert "refused" in results()[0]["cause"]
        assert admin.get(BACKEND_A)["last_check"]["cause"] == results()[0]["cause"]
        assert admin.get("/api/v1/pools/web/backends/b")["last_check"]["passed"] is True
        assert ask(daemon.port) == b"b"


def test_no_more_than_a_hundred_are_kept(stage: Stage) -> None:
    with stage.daemon(more=CHECKS.replace("100ms", "20ms")) as daemon:
        admin = Admin(daemon)
        until(lambda: len(admin.get(HEALTH_A)["checks"]) == 100, "a hundred checks")
        first = admin.get(HEALTH_A)["checks"][-1]
        until(lambda: first not in admin.get(HEALTH_A)["checks"], "other checks")
        assert len(admin.get(HEALTH_A)["checks"]) == 100


def test_what_there_is_not_is_refused(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        for path in ("/api/v1/pools/wep/backends/a/health", "/api/v1/pools/web/backends/c/health"):
            status, answer = admin.ask("GET", path)
            assert (status, "no_such_" in answer["error"]["code"]) == (404, True)
