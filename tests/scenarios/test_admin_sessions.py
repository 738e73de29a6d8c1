"""Open sessions of a balancer that runs: listed, shown and ended by its admin side."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.admin import Admin, Stage
from support.clients import connect, read_all
from support.command import command
from support.daemon import Daemon
from support.peers import holds, peer
from support.waiting import until

SESSIONS = "/api/v1/sessions"
OPEN = 12

LONG_NAME = b"\xa1" * 15_000
"""Of which JSON makes six times as many bytes, more than a message to a worker may have."""


@pytest.fixture
def stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """Backends that say their names and stay."""
    with peer(holds(b"a")) as a, peer(holds(b"b")) as b:
        yield Stage(tmp_path, workers, a, b)


@contextmanager
def clients(daemon: Daemon, number: int = OPEN) -> Iterator[list[socket.socket]]:
    """Clients, each from an address of its own, whose sessions are open."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(daemon.port, f"127.0.0.{count + 1}")) for count in range(number)]


def listed(admin: Admin, query: str = "") -> list[Any]:
    """Fetch all pages."""
    sessions: list[Any] = []
    more: str | None = ""
    while more is not None:
        answer = admin.get(f"{SESSIONS}?limit=5{query}{more}")
        sessions += answer["sessions"]
        more = None if answer["next"] is None else f"&after={answer['next']}"
    return sessions


def all_relay(admin: Admin, number: int = OPEN) -> list[Any]:
    def relaying() -> list[Any]:
        return [session for session in listed(admin) if session["state"] == "relaying"]

    until(lambda: len(relaying()) == number, lambda: f"{number} sessions, not {listed(admin)}")
    return relaying()


def test_a_name_that_is_too_long_for_workers_is_refused_and_they_go_on(stage: Stage, workers: int) -> None:
    with stage.daemon() as daemon, clients(daemon, 1):
        admin = Admin(daemon)
        before = all_relay(admin, 1)
        with socket.create_connection(("127.0.0.1", admin.port)) as sock:
            sock.sendall(
                b"GET %b?pool=%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (SESSIONS.encode(), LONG_NAME)
            )
            status = sock.makefile("rb").readline().split()[1]
        assert status == (b"404" if workers == 1 else b"400")
        assert [session["id"] for session in all_relay(admin, 1)] == [session["id"] for session in before]


def test_all_are_listed_in_pages_with_what_is_known_of_them(stage: Stage, workers: int) -> None:
    with stage.daemon() as daemon, clients(daemon) as peers:
        admin = Admin(daemon)
        peers[3].sendall(b"x" * 300)
        until(lambda: listed(admin, "&min_bytes=300"), "300 bytes")
        sessions = all_relay(admin)
        assert len({session["id"] for session in sessions}) == OPEN
        assert [session["start"] for session in sessions] == sorted(session["start"] for session in sessions)
        assert {session["worker"] for session in sessions} <= set(range(workers))
        by_client = {session["client"]: session for session in sessions}
        assert by_client.keys() == {"{}:{}".format(*peer.getsockname()) for peer in peers}
        for session in sessions:
            assert (session["frontend"], session["pool"]) == ("web", "web")
            assert session["backend"] in ("a", "b")
            assert 0.0 <= session["idle"] <= session["age"]
        (sender,) = listed(admin, "&min_bytes=300")
        assert sender["client"] == "{}:{}".format(*peers[3].getsockname())
        assert sender["client_bytes"] == 300

        (found,) = listed(admin, "&client=127.0.0.4/32")
        assert found["id"] == sender["id"]
        assert len(listed(admin, "&client=127.0.0.0/30")) == 3
        assert len(listed(admin, "&backend=a")) + len(listed(admin, "&backend=b")) == OPEN
        assert listed(admin, "&min_age=1h") == []
        shown = admin.get(f"{SESSIONS}/{sender['id']}")
        assert {**shown, "age": 0, "idle": 0} == {**sender, "age": 0, "idle": 0}


def test_one_is_ended_and_the_others_go_on(stage: Stage) -> None:
    with stage.daemon() as daemon, clients(daemon) as peers:
        admin = Admin(daemon)
        sessions = {session["client"]: session for session in all_relay(admin)}
        ended = sessions.pop("{}:{}".format(*peers[0].getsockname()))
        status, answer = admin.ask("DELETE", f"{SESSIONS}/{ended['id']}", {})
        assert (status, answer["id"]) == (200, ended["id"])
        with pytest.raises(ConnectionResetError):
            read_all(peers[0])
        until(lambda: len(listed(admin)) == OPEN - 1, "one session less")
        assert {session["id"] for session in listed(admin)} == {it["id"] for it in sessions.values()}
        status, answer = admin.ask("DELETE", f"{SESSIONS}/{ended['id']}", {})
        assert (status, answer["error"]["code"]) == (404, "no_such_session")
        assert admin.ask("GET", f"{SESSIONS}/{ended['id']}")[0] == 404
        daemon.wait_for_log(
            rf"admin: 127\.0\.0\.1:\d+ ends session {ended['id']}: done, frontend web, client "
        )
        log = stage.folder / "access.log"
        until(lambda: log.read_text().endswith("\n"), "a record")
        record = json.loads(log.read_text())
        assert (record["client"], record["reason"]) == (ended["client"], "ended_by_operator")
        assert record["closed_by"] == "balancer"


def test_what_makes_no_sense_is_refused_with_the_reason(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.get(SESSIONS) == {"sessions": [], "next": None}
        for query, message in {
            "limit=5001": "limit must be a whole number from 1 to 5000",
            "min_age=old": "min_age must be a duration such as",
            "client=everybody": "client must be",
            "after=x": "after must be the id of a session",
            "clients=127.0.0.1": 'did you mean "client"?',
        }.items():
            status, answer = admin.ask("GET", f"{SESSIONS}?{query}")
            assert (status, message in answer["error"]["message"]) == (400, True), answer
        for session in ("x", "0.1.2", "9.1.2"):
            assert admin.ask("GET", f"{SESSIONS}/{session}")[0] == 404


@pytest.mark.parametrize(
    ("command_line", "path", "kind"),
    [
        ("sessions --frontend nope", "sessions?frontend=nope", "frontend"),
        ("sessions --pool nope", "sessions?pool=nope", "pool"),
        ("sessions --backend nope", "sessions?backend=nope", "backend"),
        ("bans --frontend nope", "bans?frontend=nope", "frontend"),
    ],
)
def test_a_name_of_what_there_is_not_is_an_error(
    stage: Stage, command_line: str, path: str, kind: str
) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        status, content = admin.ask("GET", f"/api/v1/{path}")
        assert (status, content["error"]["code"]) == (404, f"no_such_{kind}")
        message = content["error"]["message"]
        assert message.startswith(f'no {kind} is named "nope", ')
        said = command(*command_line.split(), "--admin", f"http://127.0.0.1:{admin.port}")
        assert (said.returncode, said.stdout) == (1, "")
        assert message in said.stderr


def test_sessions_of_what_a_reload_has_removed_are_found_by_its_name(stage: Stage) -> None:
    with stage.daemon() as daemon, clients(daemon, 2):
        admin = Admin(daemon)
        all_relay(admin, 2)
        removed = admin.ask("DELETE", "/api/v1/pools/web/backends/a", headers=JSON_TYPE)
        assert removed[0] == 200
        (session,) = listed(admin, "&backend=a")
        assert session["backend"] == "a"


JSON_TYPE = {"Content-Type": "application/json"}
