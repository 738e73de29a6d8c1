"""Weights, deadlines of drains, and backends that come and go, at the request of an operator."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from socket import socket

import pytest

from support.admin import BACKEND_A, Admin, Stage
from support.clients import ask, connect
from support.peers import holds, named, peer
from support.streams import Stream
from support.waiting import until

BACKENDS = "/api/v1/pools/web/backends"


def shares(port: int, count: int = 40) -> Counter[bytes]:
    """Say how many of some connections each backend has had."""
    return Counter(ask(port, source=f"127.0.1.{number + 1}") for number in range(count))


def test_a_backend_gets_another_weight_until_the_next_reload(stage: Stage) -> None:
    with stage.daemon() as daemon, Stream(Admin(daemon)) as stream:
        admin = Admin(daemon)
        # As some programs write whole numbers.
        status, backend = admin.ask("PATCH", BACKEND_A, {"weight": 3.0})
        assert (status, backend["weight"], backend["lasts"]) == (200, 3, "until the next reload")
        assert type(backend["weight"]) is int
        event = stream.wait_for("backend_weight")
        assert (event["weight"], event["before"], event["by"].partition(":")[0]) == (3, 1, "127.0.0.1")
        # Each worker begins its cycle somewhere else.
        assert 28 <= shares(daemon.port)[b"a"] <= 32
        daemon.wait_for_log(r"admin: 127\.0\.0\.1:\d+ sets backend a of pool web to weight 3: done")
        daemon.send(signal.SIGHUP)
        assert stream.wait_for("backend_weight")["weight"] == 1
        assert admin.get(BACKEND_A)["weight"] == 1


def test_how_long_each_part_of_a_change_holds(stage: Stage) -> None:
    with stage.daemon() as daemon:
        status, backend = Admin(daemon).ask("PATCH", BACKEND_A, {"weight": 3, "state": "drain"})
        assert (status, backend["weight"], backend["state"]) == (200, 3, "draining")
        assert backend["lasts"] == "the state until the next restart, the weight until the next reload"


def test_a_backend_is_added_and_removed(stage: Stage) -> None:
    with stage.daemon() as daemon, named("c") as (c,), Stream(Admin(daemon)) as stream:
        admin = Admin(daemon)
        status, backend = admin.ask("POST", BACKENDS, {"address": c.address, "name": "c", "weight": 2})
        assert (status, backend["name"], backend["weight"]) == (201, "c", 2)
        assert backend["lasts"] == "until the next reload"
        assert stream.wait_for("backend_added")["by"].startswith("127.0.0.1:")
        assert shares(daemon.port).keys() == {b"a", b"b", b"c"}
        status, answer = admin.ask("DELETE", f"{BACKENDS}/a", {})
        assert (status, answer) == (200, {"lasts": "until the next reload"})
        assert stream.wait_for("backend_removed")["backend"] == "a"
        assert shares(daemon.port).keys() == {b"b", b"c"}
        assert [its["name"] for its in admin.get("/api/v1/pools/web")["backends"]] == ["b", "c"]
        daemon.send(signal.SIGHUP)
        assert stream.wait_for("reloaded")["summary"].startswith("begins: 1 backend; ends: 1 backend")
        assert shares(daemon.port).keys() == {b"a", b"b"}


class Clients(ExitStack):
    """Some that are connected, to be closed together."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._clients = [
            self.enter_context(connect(port, source=f"127.0.1.{number + 1}")) for number in range(8)
        ]

    def __iter__(self) -> Iterator[socket]:
        return iter(self._clients)


def eight_held(port: int) -> Clients | None:
    """Connect from addresses that belong to different workers; None where another backend serves one."""
    clients = Clients(port)
    if {client.recv(4) for client in clients} == {b"held"}:
        return clients
    clients.close()
    return None


def test_a_drain_ends_the_sessions_at_its_deadline(stage: Stage) -> None:
    with peer(holds(b"held")) as held, stage.daemon() as daemon:
        admin = Admin(daemon)
        admin.ask("POST", BACKENDS, {"address": held.address, "name": "held"})
        for name in "ab":
            admin.ask("PATCH", f"{BACKENDS}/{name}", {"state": "maintenance"})
        # Each worker learns of it in its own time.
        with until(lambda: eight_held(daemon.port), "eight clients at the third backend") as clients:
            order = {"state": "drain", "deadline": "0s", "weight": 2}
            status, backend = admin.ask("PATCH", f"{BACKENDS}/held", order)
            assert (status, backend["state"], backend["weight"]) == (200, "draining", 2)
            for client in clients:
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
        until(lambda: not admin.get(f"{BACKENDS}/held")["counters"]["connections_active"], "no session left")


def test_a_deadline_is_shown_changed_and_taken_away(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)

        def deadline(**order: object) -> float | None:
            status, backend = admin.ask("PATCH", BACKEND_A, order)
            assert status == 200
            left: float | None = backend["drain_deadline"]
            return left

        assert admin.get(BACKEND_A)["drain_deadline"] is None
        assert deadline(state="drain", deadline="1h") == pytest.approx(3600, abs=5)
        assert 3500 < admin.get("/api/v1/view")["pools"][0]["backends"][0]["drain_deadline"] <= 3600
        assert deadline(state="maintenance") == pytest.approx(3600, abs=20)
        assert deadline(state="maintenance", deadline=600.5) == pytest.approx(600, abs=5)
        assert deadline(state="drain", deadline=None) is None
        daemon.wait_for_log("sets backend a of pool web to state drain, no deadline: done")
        assert deadline(state="drain", deadline=0) == 0.0
        assert deadline(state="ready") is None


REFUSED: list[tuple[str, str, object, int, str]] = [
    ("PATCH", "/a", {"weight": 0}, 400, "weight must be a whole number from 1 to 256"),
    ("PATCH", "/a", {"weight": True}, 400, "weight must be a whole number from 1 to 256"),
    ("PATCH", "/a", {"weight": 2, "state": "off"}, 400, "state must be one of"),
    ("PATCH", "/a", {"deadline": "1s"}, 400, 'deadline goes with state "drain" or "maintenance"'),
    ("PATCH", "/a", {"state": "ready", "deadline": None}, 400, "deadline goes with state"),
    ("PATCH", "/a", {"state": "drain", "deadline": "soon"}, 400, "deadline must be a duration"),
    ("PATCH", "/x", {"weight": 2}, 404, 'no backend is named "x", the backends are "a" and "b"'),
    ("POST", "", {"name": "c"}, 400, "address"),
    ("POST", "", {"address": "nowhere"}, 400, "address must"),
    ("POST", "", {"address": "127.0.0.1:1", "weight": "2"}, 400, "weight must be a whole number"),
    ("POST", "", {"address": "127.0.0.1:1", "wait": 2}, 400, 'the body has "wait"'),
    ("POST", "", {"address": "127.0.0.1:1", "name": "a"}, 409, 'the name "a" is already that of'),
    ("POST", "", {"address": "127.0.0.1:1", "server_name": "x"}, 409, "has no effect without TLS"),
    ("DELETE", "/x", {}, 404, 'no backend is named "x"'),
]


def test_what_makes_no_sense_is_refused_as_in_the_file_and_nothing_changes(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        before = admin.get("/api/v1/pools/web")["backends"]
        for method, path, content, status, message in REFUSED:
            found, answer = admin.ask(method, BACKENDS + path, content)
            assert (found, message in answer["error"]["message"]) == (status, True), (path, content, answer)
        status, answer = admin.ask("POST", "/api/v1/pools/wep/backends", {"address": "127.0.0.1:1"})
        assert (status, answer["error"]["code"]) == (404, "no_such_pool")
        assert admin.get("/api/v1/pools/web")["backends"] == before
        assert admin.ask("DELETE", f"{BACKENDS}/b", {})[0] == 200
        status, answer = admin.ask("DELETE", f"{BACKENDS}/a", {})
        assert (status, answer["error"]["message"]) == (409, "backends must have at least one backend")
        daemon.wait_for_log("removes backend a of pool web: refused: .* must have at least one backend")


def test_many_changes_at_once_are_all_made(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        connections = []
        for number in range(8):
            connection = admin.connection()
            body = f'{{"address": "127.0.0.1:{number + 1}", "name": "x{number}", "backup": true}}'
            connection.request("POST", BACKENDS, body, {"Content-Type": "application/json"})
            connections.append(connection)
        assert [connection.getresponse().status for connection in connections] == [201] * 8
        names = {its["name"] for its in admin.get("/api/v1/pools/web")["backends"]}
        assert names == {"a", "b", *(f"x{number}" for number in range(8))}
