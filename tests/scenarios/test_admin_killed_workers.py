"""Workers that are killed while the admin side answers: an answer is whole, or an error with its reason."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from operator import ge
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.admin import Admin, Stage
from support.clients import connect
from support.coming_again import ComingAgain
from support.daemon import Daemon
from support.peers import holds, peer
from support.visitors import Visitors
from support.waiting import until
from tcpbalance.workers.shared_counts import can_count

pytestmark = [
    pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"),
    pytest.mark.parametrize("workers", [2], indirect=True),
]

SOURCES = [f"127.0.0.{host}" for host in range(2, 14)]
"""Clients of both workers."""

KILLS = 4


@pytest.fixture
def stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """Backends that say their names and stay."""
    with peer(holds(b"a")) as a, peer(holds(b"b")) as b:
        yield Stage(tmp_path, workers, a, b)


def pid_of(admin: Admin, place: int) -> int:
    """Give the process of a worker, and wait until it has one."""

    def pids() -> list[int]:
        status, answer = admin.ask("GET", "/api/v1/status")
        assert status in (200, 503), answer
        return [it["pid"] for it in answer.get("processes", ()) if it.get("worker") == place]

    return until(pids, f"worker {place}")[0]


@contextmanager
def under_way(admin: Admin, path: str) -> Iterator[HTTPConnection]:
    """Ask for something of which worker 0 has given its part, and worker 1 is killed before it gives its."""
    pid = pid_of(admin, 1)
    os.kill(pid, signal.SIGSTOP)
    try:
        waiting = admin.connection()
        waiting.request("GET", path)
        # That one is under way when this one is answered.
        admin.get("/api/v1/pools?counters=false")
    finally:
        os.kill(pid, signal.SIGKILL)
    yield waiting
    waiting.close()


@contextmanager
def sessions(stage: Stage) -> Iterator[tuple[Admin, dict[str, Any]]]:
    """Run a balancer of whose sessions each worker has some; gives them by their ids."""
    with stage.daemon() as daemon, ExitStack() as stack:
        for source in SOURCES:
            assert stack.enter_context(connect(daemon.port, source)).recv(1) in (b"a", b"b")
        admin = Admin(daemon)

        def relaying() -> dict[str, Any]:
            found = admin.get("/api/v1/sessions")["sessions"]
            return {it["id"]: it for it in found if it["state"] == "relaying"}

        until(lambda: len(relaying()) == len(SOURCES), "all sessions")
        assert {it["worker"] for it in relaying().values()} == {0, 1}
        yield admin, relaying()


def test_a_list_of_sessions_has_those_that_there_are(stage: Stage) -> None:
    with sessions(stage) as (admin, before), under_way(admin, "/api/v1/sessions") as waiting:
        response = waiting.getresponse()
        assert response.status == 200
        listed = {it["id"] for it in json.loads(response.read())["sessions"]}
        assert listed == {number for number, it in before.items() if it["worker"] == 0}


def test_a_session_that_has_ended_with_its_worker_is_not_there(stage: Stage) -> None:
    with sessions(stage) as (admin, before):
        lost = next(number for number, it in before.items() if it["worker"] == 1)
        with under_way(admin, f"/api/v1/sessions/{lost}") as waiting:
            response = waiting.getresponse()
            answer = json.loads(response.read())
        assert (response.status, answer["error"]["code"]) == (404, "no_such_session")


def test_counters_are_those_that_were_known(stage: Stage) -> None:
    with sessions(stage) as (admin, before):
        known = admin.get("/api/v1/view")["frontends"][0]["counters"]
        assert (known["connections_total"], known["connections_active"]) == (len(SOURCES), len(SOURCES))
        with under_way(admin, "/api/v1/view") as waiting:
            response = waiting.getresponse()
            assert response.status == 200
            view = json.loads(response.read())
        left = sum(it["worker"] == 0 for it in before.values())
        counters = view["frontends"][0]["counters"]
        assert counters == {**known, "connections_active": left}
        assert [it.get("worker") for it in view["processes"]] == [0, None]


def test_metrics_have_all_that_was_known(stage: Stage) -> None:
    with sessions(stage) as (admin, _):
        known = metrics(admin)
        with under_way(admin, "/metrics") as waiting:
            response = waiting.getresponse()
            assert response.status == 200
            found = counters_of(response.read().decode())
        assert {name: count for name, count in known.items() if found.get(name, -1) < count} == {}
        assert found['tcpbalance_frontend_connections_total{frontend="web"}'] == len(SOURCES)


def test_what_only_that_worker_knows_is_to_be_asked_again(stage: Stage) -> None:
    with sessions(stage) as (admin, before):
        client = next(it["client"] for it in before.values() if it["worker"] == 1).rpartition(":")[0]
        path = f"/api/v1/explain?frontend=web&client={quote(client)}"
        with under_way(admin, path) as waiting:
            response = waiting.getresponse()
            answer = json.loads(response.read())
        assert (response.status, answer["error"]["code"]) == (503, "not_serving")
        assert "worker 1 does not serve web now: ask again" in answer["error"]["message"]
        # It waits while the first checks are not over.
        until(lambda: admin.ask("GET", path)[1].get("outcome") == "connects", "the next worker")


def test_those_that_serve_and_that_have_ended_are_counted(stage: Stage) -> None:
    text = stage.config().replace("[admin]", 'worker_timeout = "1s"\n[admin]', 1)
    with Daemon(text, stage.folder) as daemon:
        admin = Admin(daemon)

        def workers() -> Any:
            status, answer = admin.ask("GET", "/api/v1/status")
            return answer.get("workers") if status == 200 else status

        none = {"signal": 0, "exit": 0, "timeout": 0, "error": 0}
        assert workers() == {"serving": 2, "ended": none}
        os.kill(pid_of(admin, 1), signal.SIGKILL)
        wanted = {"serving": 2, "ended": {**none, "signal": 1}}
        until(lambda: workers() == wanted, lambda: f"{wanted}, not {workers()}")
        os.kill(pid_of(admin, 0), signal.SIGSTOP)
        then = {"serving": 2, "ended": {**none, "signal": 1, "timeout": 1}}
        until(lambda: workers() == then, lambda: f"{then}, not {workers()}")
        found = metrics(admin)
        assert found['tcpbalance_workers_ended_total{by="signal"}'] == 1
        assert found['tcpbalance_workers_ended_total{by="timeout"}'] == 1


def metrics(admin: Admin) -> dict[str, float]:
    connection = admin.connection()
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    text = response.read().decode()
    if response.status != 200:
        raise Refused(response.status, json.loads(text))
    return counters_of(text)


def counters_of(text: str) -> dict[str, float]:
    """Give the samples that never go down, and see that all metrics are there."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    # The last one of all.
    assert "tcpbalance_backend_state" in types
    assert text.endswith("\n")
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        base = re.sub(r"(_total|_bucket|_sum|_count)$", "", name.partition("{")[0])
        if types.get(name.partition("{")[0]) == "counter" or types.get(base) in ("counter", "histogram"):
            found[name] = float(value)
    return found


class Refused(Exception):
    """An answer that is an error, which has to have a reason."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(f"{answer['error']['message']}")
        assert status == 503, answer
        assert answer["error"]["code"] in ("worker_silent", "not_serving"), answer


def read(admin: Admin, path: str) -> Any:
    status, answer = admin.ask("GET", path)
    if status != 200:
        raise Refused(status, answer)
    return answer


class Reader:
    """Reads one thing again and again; what it is told has to be whole, and never to go down.

    :param look: gives counters.
    """

    def __init__(self, look: Callable[[], dict[str, float]]) -> None:
        self._look = look
        self._before: dict[str, float] = {}
        self.answers = 0
        self.refused = ""
        self.failures: list[str] = []

    def read(self) -> None:
        """Read once."""
        try:
            found = self._look()
        except Refused as error:
            self.refused = f"{error}"
            return
        except (OSError, AssertionError, ValueError, KeyError) as error:
            self.failures.append(repr(error))
            return
        self.answers += 1
        less = {
            name: (count, found.get(name))
            for name, count in self._before.items()
            if found.get(name, -1) < count
        }
        if less:
            self.failures.append(f"less than before: {less}")
        self._before = found


def of_view(admin: Admin) -> dict[str, float]:
    view = read(admin, "/api/v1/view")
    ((web,), (pool,)) = view["frontends"], view["pools"]
    assert [it["name"] for it in pool["backends"]] == ["a", "b"]
    of = {"web": web["counters"], **{it["name"]: it["counters"] for it in pool["backends"]}}
    return {
        f"{name} {key}": of[name][key]
        for name in of
        for key in ("connections_total", "bytes_in", "bytes_out")
    }


def of_sessions(admin: Admin) -> dict[str, float]:
    page = read(admin, "/api/v1/sessions?limit=5000")
    ids = [it["id"] for it in page["sessions"]]
    assert (len(set(ids)), page["next"]) == (len(ids), None)
    return {}


def of_explain(admin: Admin) -> dict[str, float]:
    for source in SOURCES[:4]:
        said = read(admin, f"/api/v1/explain?frontend=web&client={source}")
        assert said["outcome"] in ("connects", "waits"), said
        assert [len(said["pool"][part]) for part in ("candidates", "skipped")] == [2, 0], said
    return {}


class Readers(ComingAgain):
    """A thread for each thing that is read, from `with` to its end."""

    def __init__(self, admin: Admin) -> None:
        looks = (metrics, of_view, of_sessions, of_explain)
        self.readers = [Reader(partial(look, admin)) for look in looks]
        super().__init__(partial(self._read, reader) for reader in self.readers)

    def _read(self, reader: Reader) -> None:
        while not self._ends.wait(0.005):
            reader.read()

    @property
    def failures(self) -> list[str]:
        """What was wrong."""
        return [failure for reader in self.readers for failure in reader.failures]

    def see(self, further: int) -> None:
        """Wait until each has had so many more answers, or one was wrong."""
        wanted = [reader.answers + further for reader in self.readers]

        def have() -> list[int]:
            return [reader.answers for reader in self.readers]

        until(
            lambda: self.failures or all(map(ge, have(), wanted)),
            lambda: f"{wanted} answers: {have()}, {[reader.refused for reader in self.readers]}",
        )


def kill_and_replace(daemon: Daemon, admin: Admin, place: int) -> None:
    """Kill a worker, and wait for the next one."""
    pid = pid_of(admin, place)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid_of(admin, place) != pid, lambda: f"the next worker\n{daemon.log}")


def test_answers_are_whole_while_workers_are_killed_under_load(echo_stage: Stage) -> None:
    with echo_stage.daemon() as daemon:
        admin = Admin(daemon)
        clients = 6
        with Visitors(daemon.port, clients, SOURCES) as visitors, Readers(admin) as readers:
            for kill in range(KILLS):
                visitors.see(50)
                readers.see(3)
                kill_and_replace(daemon, admin, kill % 2)
                readers.see(3)
            visitors.see(50)
        assert readers.failures == []
        # What a worker had open is lost with it, and no more.
        assert len(visitors.failures) <= KILLS * clients, visitors.failures
