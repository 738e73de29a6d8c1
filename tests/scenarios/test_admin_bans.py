"""Bans of a balancer that runs: seen, added and lifted by its admin side."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from support.admin import Admin, Stage
from support.clients import ask, connect
from support.waiting import until

BANS = "/api/v1/bans"
WITH_LIMITS = """
[frontends.strict]
listen = "127.0.0.1:0"
pool = "web"
limits = { connections_per_client = 1, ban_after = 2, ban_window = "1m", ban_for = "1h" }
"""
CLIENT, OTHER = "127.0.0.7", "127.0.0.8"


def is_refused(port: int, client: str) -> bool:
    try:
        return ask(port, source=client) == b""
    except ConnectionResetError:
        return True


def test_a_client_is_banned_and_let_in_again(stage: Stage) -> None:
    with stage.daemon(more=WITH_LIMITS) as daemon:
        admin, strict = Admin(daemon), daemon.ports["strict"]
        assert admin.get(BANS) == {"bans": [], "total": 0}
        assert not is_refused(strict, CLIENT)

        ban = {"frontend": "strict", "client": CLIENT, "for": "10m"}
        status, answer = admin.ask("POST", BANS, ban)
        assert (status, answer["client"], answer["seconds"]) == (200, CLIENT, 600.0)
        assert (answer["frontend"], answer["frontends"]) == ("strict", ["strict"])
        daemon.wait_for_log(
            rf"admin: 127\.0\.0\.1:\d+ bans client {CLIENT} at frontend strict for 600 s: done"
        )
        until(lambda: is_refused(strict, CLIENT), "refused")
        assert not is_refused(strict, OTHER)
        assert not is_refused(daemon.ports["web"], CLIENT)
        (listed,) = admin.get(f"{BANS}?frontend=strict&client=127.0.0.0/8")["bans"]
        assert (listed["frontend"], listed["client"]) == ("strict", CLIENT)
        assert 590 < listed["seconds"] <= 600
        status, again = admin.ask("POST", BANS, {**ban, "for": "1m"})
        (counts,) = again["bans"]
        assert 590 < counts["seconds"] <= 600
        assert (again["seconds"], again["until"]) == (counts["seconds"], counts["until"])
        daemon.wait_for_log(r"for 60 s: done, it was banned for longer before: \d+ s at frontend strict")
        status, again = admin.ask("POST", BANS, {**ban, "for": "1m", "replace": True})
        assert (status, again["seconds"], again["bans"][0]["by"]) == (200, 60.0, "operator")
        assert admin.get(BANS)["bans"][0]["seconds"] <= 60

        status, answer = admin.ask("DELETE", f"{BANS}/{CLIENT}", {})
        assert (status, answer) == (200, {"client": CLIENT, "frontends": ["strict"]})
        daemon.wait_for_log(rf"lifts the ban of client {CLIENT} at all frontends: done")
        until(lambda: not is_refused(strict, CLIENT), "let in")
        assert admin.get(BANS)["total"] == 0
        assert admin.ask("DELETE", f"{BANS}/{CLIENT}?frontend=strict", {})[0] == 404


def test_a_ban_that_the_limits_have_decided_is_seen_and_lifted(stage: Stage) -> None:
    with stage.daemon(more=WITH_LIMITS) as daemon:
        admin, strict = Admin(daemon), daemon.ports["strict"]
        with connect(strict, CLIENT) as client:
            assert client.recv(1) in (b"a", b"b")
            for _ in range(2):
                assert is_refused(strict, CLIENT)
        until(lambda: admin.get(BANS)["total"] == 1, "a ban")
        (listed,) = admin.get(BANS)["bans"]
        assert (listed["client"], listed["by"]) == (CLIENT, "limits")
        assert is_refused(strict, CLIENT)
        ban = {"frontend": "strict", "client": CLIENT, "for": "1m"}
        (counts,) = admin.ask("POST", BANS, ban)[1]["bans"]
        assert (counts["by"], counts["seconds"] > 3000) == ("limits", True)
        assert {ban["by"] for ban in admin.get(BANS)["bans"]} == {"limits", "operator"}
        assert admin.ask("DELETE", f"{BANS}/{CLIENT}?frontend=strict&by=operator", {})[0] == 200
        (listed,) = admin.get(BANS)["bans"]
        assert listed["by"] == "limits"
        assert admin.ask("DELETE", f"{BANS}/{CLIENT}?frontend=strict", {})[0] == 200
        until(lambda: not is_refused(strict, CLIENT), "let in")


def test_a_network_is_banned_at_all_frontends_with_limits_and_without_and_let_in_again(stage: Stage) -> None:
    with stage.daemon(more=WITH_LIMITS) as daemon:
        admin, ports = Admin(daemon), [daemon.ports["web"], daemon.ports["strict"]]
        ban = {"client": "127.0.0.0/29", "for": 600}
        status, answer = admin.ask("POST", BANS, ban)
        assert (status, answer["client"], answer["seconds"]) == (200, "127.0.0.0/29", 600.0)
        assert (answer["frontend"], answer["frontends"]) == (None, ["web", "strict"])
        daemon.wait_for_log(r"admin: \S+ bans client 127\.0\.0\.0/29 at all frontends for 600 s: done")
        until(lambda: all(is_refused(port, CLIENT) for port in ports), "refused")
        assert not any(is_refused(port, OTHER) for port in ports)
        listed = admin.get(f"{BANS}?client={CLIENT}")["bans"]
        assert {(its["frontend"], its["client"]) for its in listed} == {
            ("web", "127.0.0.0/29"),
            ("strict", "127.0.0.0/29"),
        }
        assert admin.get("/api/v1/frontends/web")["counters"]["refused.banned"] >= 1
        status, answer = admin.ask("DELETE", f"{BANS}/127.0.0.0%2F29", {})
        assert (status, answer) == (200, {"client": "127.0.0.0/29", "frontends": ["web", "strict"]})
        until(lambda: not any(is_refused(port, CLIENT) for port in ports), "let in")
        assert admin.get(BANS)["total"] == 0


def test_a_ban_at_a_frontend_without_limits_outlives_a_reload_and_new_workers(
    stage: Stage, workers: int
) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        admin.ask("POST", BANS, {"frontend": "web", "client": CLIENT, "for": "10m"})
        until(lambda: is_refused(daemon.port, CLIENT), "refused")
        daemon.config_file.write_text(
            daemon.config_file.read_text() + "[frontends.web.limits]\nconnections = 50\n"
        )
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded ")
        assert is_refused(daemon.port, CLIENT)
        if workers > 1:
            daemon.send(signal.SIGUSR2)
            daemon.wait_for_log("the workers have been replaced")
            assert is_refused(daemon.port, CLIENT)
        assert not is_refused(daemon.port, OTHER)
        assert admin.get(BANS)["total"] == 1


NO_SENSE: list[tuple[dict[str, Any], int, str]] = [
    ({"frontend": "strikt", "client": CLIENT, "for": "1m"}, 404, 'did you mean "strict"?'),
    ({"frontend": "strict", "client": "127.0.0.1/8", "for": "1m"}, 400, 'did you mean "127.0.0.0/8"?'),
    ({"frontend": "strict", "client": CLIENT, "for": "long"}, 400, "for must be a duration"),
    ({"frontend": "strict", "client": CLIENT, "for": 0}, 400, "for must be longer than 0 seconds"),
    ({"frontend": "strict", "client": CLIENT}, 400, 'the body must have "for"'),
    ({"frontend": ["strict"], "client": CLIENT, "for": 1}, 400, "frontend must be a name"),
    ({"front": "strict"}, 400, "it may have"),
    ({"client": CLIENT, "for": 1, "replace": 1}, 400, "replace must be true or false"),
]


@pytest.mark.parametrize("workers", [1], indirect=True)
def test_what_makes_no_sense_is_refused_with_the_reason(stage: Stage) -> None:
    with stage.daemon(more=WITH_LIMITS) as daemon:
        admin = Admin(daemon)
        for content, status, message in NO_SENSE:
            found, answer = admin.ask("POST", BANS, content)
            assert (found, message in answer["error"]["message"]) == (status, True), answer
        assert admin.ask("DELETE", f"{BANS}/127.0.0.0%2F9", {})[0] == 404
        assert admin.ask("DELETE", f"{BANS}/127.0.0.1%2F9", {})[0] == 400
        assert admin.ask("DELETE", f"{BANS}/{CLIENT}?front=strict", {})[0] == 400
        assert admin.ask("DELETE", f"{BANS}/{CLIENT}?by=me", {})[0] == 400
        assert admin.get(BANS)["total"] == 0


SITE = """
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
routes = [{ answer = { status = 200 } }]
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_connection_that_is_kept_open_takes_no_request_of_a_banned_client(
    stage: Stage,
) -> None:
    with stage.daemon(more=SITE) as daemon:
        admin, site = Admin(daemon), daemon.ports["site"]
        with connect(site, CLIENT) as client, connect(site, OTHER) as other:
            for sock in (client, other):
                sock.sendall(GET)
                assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
            assert admin.ask("POST", BANS, {"client": CLIENT, "for": "10m"})[0] == 200
            assert client.recv(1000) == b""
            other.sendall(GET)
            assert other.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert is_refused(site, CLIENT)
