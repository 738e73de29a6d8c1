"""Events of a balancer that runs, as its admin side shows and streams them."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from support.admin import BACKEND_A, Admin, Stage
from support.clients import connect
from support.peers import peer, says
from support.streams import Stream
from tcpbalance.workers.shared_counts import can_count

HEALTH = """
[pools.web.health]
interval = "100ms"
timeout = "2s"
fall = 1
rise = 1
"""

LIMITS = """
[frontends.web.limits]
connections_per_client = 1
ban_after = 1
ban_for = "1h"
"""


def events_of(admin: Admin, *kinds: str) -> list[dict[str, Any]]:
    """Give the events of some kinds."""
    return [event for event in admin.get("/api/v1/events")["events"] if event["kind"] in kinds]


def test_a_change_is_an_event_with_the_address_of_its_client(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        begin = admin.get("/api/v1/events")["newest"]
        admin.ask("PATCH", BACKEND_A, {"state": "drain"})
        found = admin.get(f"/api/v1/events?since={begin}")
        (event,) = found["events"]
        assert (event["kind"], event["pool"], event["backend"]) == ("backend_state", "web", "a")
        assert (event["state"], event["by"].partition(":")[0]) == ("drain", "127.0.0.1")
        assert (found["newest"], found["missed"]) == (event["number"], False)
        assert admin.get(f"/api/v1/events?since={event['number']}")["events"] == []
        status, answer = admin.ask("GET", "/api/v1/events?since=-1")
        assert (status, answer["error"]["code"]) == (400, "bad_since")


def test_a_stream_shows_a_backend_that_goes_down_and_comes_back(stage: Stage) -> None:
    with stage.daemon(more=HEALTH) as daemon, Stream(Admin(daemon)) as stream:
        stage.a.end()
        event = stream.wait_for("backend_down")
        assert (event["backend"], event["cause"]) == ("a", "refused")
        with peer(says(b"a"), port=stage.a.port):
            assert stream.wait_for("backend_up")["backend"] == "a"


def test_reloads_are_events_with_what_they_change_or_why_they_are_refused(stage: Stage) -> None:
    with stage.daemon() as daemon, Stream(Admin(daemon)) as stream:
        good = daemon.config_file.read_text()
        daemon.config_file.write_text(good.replace("[pools.web]\n", "[pools.web]\nretries = 7\n"))
        daemon.send(signal.SIGHUP)
        assert stream.wait_for("reloaded")["summary"] == "changes: 1 key"
        daemon.config_file.write_text(good.replace("[pools.web]\n", "[pools.web]\nretrys = 7\n"))
        daemon.send(signal.SIGHUP)
        assert "retries" in stream.wait_for("reload_refused")["cause"]


def test_bans_are_events(stage: Stage) -> None:
    with stage.daemon(more=LIMITS) as daemon, Stream(Admin(daemon)) as stream:
        with connect(daemon.port) as first, connect(daemon.port):
            first.sendall(b"x")
            event = stream.wait_for("ban")
        assert (event["frontend"], event["client"], event["count"]) == ("web", "127.0.0.1", 1)
        assert 3599 < event["seconds"] <= 3600
        admin = Admin(daemon)
        admin.ask("DELETE", "/api/v1/bans/127.0.0.1", {})
        assert stream.wait_for("ban_lifted")["client"] == "127.0.0.1"
        admin.ask("POST", "/api/v1/bans", {"frontend": "web", "client": "192.0.2.1", "for": "5m"})
        event = stream.wait_for("ban")
        assert (event["client"], event["seconds"]) == ("192.0.2.1", 300)
        admin.ask("POST", "/api/v1/bans", {"frontend": "web", "client": "192.0.2.1", "for": "1s"})
        assert 290 < stream.wait_for("ban")["seconds"] <= 300
        assert event["by"].startswith("127.0.0.1:")


def test_a_stream_goes_on_where_it_was_lost(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        with Stream(admin) as stream:
            admin.ask("PATCH", BACKEND_A, {"state": "drain"})
            last = stream.wait_for("backend_state")["number"]
        admin.ask("PATCH", BACKEND_A, {"state": "maintenance"})
        with Stream(admin, {"Last-Event-ID": str(last)}) as stream:
            assert stream.wait_for("backend_state")["state"] == "maintenance"


def test_streams_end_when_the_balancer_does(stage: Stage) -> None:
    with stage.daemon() as daemon, Stream(Admin(daemon)) as stream:
        daemon.send(signal.SIGTERM)
        stream.wait_for_end()


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_workers_that_begin_end_and_are_replaced_are_events(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert sorted(event["worker"] for event in events_of(admin, "worker_started")) == [0, 1]
        pids = [process["pid"] for process in admin.get("/api/v1/status")["processes"]]
        with Stream(admin, {"Last-Event-ID": str(admin.get("/api/v1/events")["newest"])}) as stream:
            os.kill(pids[1], signal.SIGKILL)
            event = stream.wait_for("worker_ended")
            assert (event["worker"], event["pid"]) == (1, pids[1])
            assert "SIGKILL" in event["cause"]
            assert stream.wait_for("worker_started")["worker"] == 1
            daemon.send(signal.SIGUSR2)
            event = stream.wait_for("worker_replaced")
            assert (event["worker"], event["before"]) == (0, pids[0])
            assert event["pid"] != pids[0]
