"""Changes while one of two workers does not answer: what was made is answered as made, and all is logged."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.admin import BACKEND_A, Admin, Stage
from support.clients import connect, read_all
from support.daemon import TCPBALANCE
from support.peers import holds, peer
from support.process import finish
from support.waiting import until
from tcpbalance.workers.shared_counts import can_count

pytestmark = [
    pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"),
    pytest.mark.parametrize("workers", [2], indirect=True),
]

STICKY = 'affinity = { ttl = "10m" }'


@pytest.fixture
def stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """Backends that say their names and stay."""
    with peer(holds(b"a")) as a, peer(holds(b"b")) as b:
        yield Stage(tmp_path, workers, a, b)


@contextmanager
def stopped(admin: Admin, place: int) -> Iterator[None]:
    """Have a worker stand still."""
    (pid,) = [it["pid"] for it in admin.get("/api/v1/status")["processes"] if it.get("worker") == place]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def sessions(admin: Admin) -> dict[str, Any]:
    """Give the open sessions, by client."""
    return {it["client"]: it for it in admin.get("/api/v1/sessions")["sessions"]}


def test_a_state_is_set_and_said_to_be(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        with stopped(admin, 1):
            status, backend = admin.ask("PATCH", BACKEND_A, {"state": "drain"})
        assert (status, backend["state"], "counters" in backend) == (200, "draining", False)
        daemon.wait_for_log(r"admin: \S+ sets backend a of pool web to state drain: done")


def test_a_command_says_what_it_has_set(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        command = [str(TCPBALANCE), "drain", f"--admin=127.0.0.1:{admin.port}", "web/a"]
        with stopped(admin, 1):
            done = finish(command)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "web/a: draining, open sessions are not known: worker 1 has not answered for 2 s: ask again "
            "(until the next restart)\n"
        )


def test_a_session_is_ended_by_the_worker_that_has_it(stage: Stage) -> None:
    with stage.daemon() as daemon, connect(daemon.port, "127.0.0.2") as client:
        admin = Admin(daemon)
        until(lambda: sessions(admin), "a session")
        (session,) = sessions(admin).values()
        with stopped(admin, 1 - session["worker"]):
            status, answer = admin.ask("DELETE", f"/api/v1/sessions/{session['id']}", {})
        assert (status, answer["id"]) == (200, session["id"])
        with pytest.raises(ConnectionResetError):
            read_all(client)


def test_a_session_of_a_silent_worker_may_be_ended_later(stage: Stage) -> None:
    with stage.daemon() as daemon, connect(daemon.port, "127.0.0.2") as client:
        admin = Admin(daemon)
        until(lambda: sessions(admin), "a session")
        (session,) = sessions(admin).values()
        place = session["worker"]
        with stopped(admin, place):
            status, answer = admin.ask("DELETE", f"/api/v1/sessions/{session['id']}", {})
        silent = f"worker {place} has not answered for 2 s"
        assert (status, answer["error"]["message"]) == (503, f"{silent}: ask again")
        daemon.wait_for_log(rf"ends session {session['id']}: unconfirmed: {silent}")
        with pytest.raises(ConnectionResetError):
            read_all(client)


def test_affinity_is_forgotten_in_part_and_wholly_later(stage: Stage) -> None:
    with stage.daemon(more=STICKY) as daemon, connect(daemon.port, "127.0.0.2") as client:
        client.recv(1)
        admin = Admin(daemon)
        until(lambda: admin.get("/api/v1/affinity")["affinity"], "a client")
        with stopped(admin, 1):
            status, answer = admin.ask("DELETE", "/api/v1/affinity?pool=web", {})
        assert (status, answer) == (200, {"forgotten": 1, "unanswered": [1]})
        line = "forgets the affinity of pool web: done in part, 1 client: worker 1 has not answered"
        daemon.wait_for_log(line)


def test_a_request_that_waits_for_it_gets_the_reason_when_the_balancer_ends(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        waiting = admin.connection()
        with stopped(admin, 1):
            waiting.request("GET", "/api/v1/pools")
            # That one is under way when this one is answered.
            admin.get("/api/v1/pools?counters=false")
            daemon.send(signal.SIGTERM)
            response = waiting.getresponse()
            answer = json.loads(response.read())
        assert (response.status, answer["error"]["code"]) == (503, "shutting_down")
