"""How `tcpbalance explain` words an answer."""

from __future__ import annotations

from typing import Any

from tcpbalance.cli.explain import explain_lines
from tcpbalance.cli.table import plain_text

A = {
    "backend": "a",
    "address": "10.0.0.11:80",
    "why": "policy",
    "meaning": "as the policy orders them",
    "backup": False,
    "weight": 1,
    "connections": 4,
    "max_connections": 10,
}
B = {**A, "backend": "b", "why": "down", "meaning": "it is down: refused\x1b[2J", "max_connections": None}

ADMITTED: dict[str, Any] = {
    "refused": None,
    "would_refuse": None,
    "meaning": None,
    "list": "allow",
    "banned_for": 0.0,
    "connections": {"used": 3, "limit": 100, "left": 97},
    "rate": {"used": 5, "limit": 5, "left": 0},
    "next_in": 0.25,
    "refusals": {"used": 1, "limit": 20, "left": 19},
}

ANSWER: dict[str, Any] = {
    "frontend": "web",
    "client": "203.0.113.7",
    "server_name": None,
    "worker": 1,
    "any_worker_accepts": False,
    "outcome": "connects",
    "waits_for": [],
    "connections": {"open": 12, "limit": None},
    "proxy_header": False,
    "admission": ADMITTED,
    "route": None,
    "request": None,
    "pool": {
        "name": "web",
        "outcome": "connects",
        "exact": True,
        "by": "turns by weight",
        "attempts": 3,
        "candidates": [A],
        "skipped": [B],
    },
}


def test_a_client_that_any_worker_may_serve() -> None:
    assert lines(client="unix", worker=None)[:2] == [
        "unix at frontend web is served",
        "accepted by any worker",
    ]


def lines(**changes: Any) -> list[str]:
    return explain_lines({**ANSWER, **changes}, None, plain_text)


def test_one_that_is_served() -> None:
    assert lines() == [
        "203.0.113.7 at frontend web is served",
        "accepted by worker 1",
        "admitted",
        "the list allow decides",
        "3 of 100 connections of the client are open",
        "0 of 5 connections may come at once by the rate, the next in 0.25 s",
        "1 of 20 refusals that lead to a ban",
        "pool web: turns by weight",
        "",
        "TRY  BACKEND  ADDRESS       OPEN  WHY",
        "  1  a        10.0.0.11:80  4/10  as the policy orders them",
        "  -  b        10.0.0.11:80     4  it is down: refused\\x1b[2J",
    ]


def test_on_a_narrow_terminal_no_reason_is_cut() -> None:
    pool = {**ANSWER["pool"], "candidates": [{**A, "meaning": "connecting to it has just failed"}]}
    found = explain_lines({**ANSWER, "pool": pool}, 50, plain_text)
    assert found[5:] == [
        "0 of 5 connections may come at once by the rate,",
        "  the next in 0.25 s",
        "1 of 20 refusals that lead to a ban",
        "pool web: turns by weight",
        "",
        "TRY  BACKEND  OPEN  WHY",
        "  1  a        4/10  connecting to it has just",
        "                    failed",
        "  -  b           4  it is down: refused\\x1b[2J",
    ]


def test_one_that_is_refused() -> None:
    refused = {**ADMITTED, "refused": "banned", "meaning": "it was refused too often", "banned_for": 61.2}
    found = lines(outcome="refused", admission=refused)
    assert found[0] == "203.0.113.7 at frontend web is refused"
    assert "refused, banned: it was refused too often" in found
    assert "banned for 1 min 1 s more" in found


def test_one_that_has_to_wait() -> None:
    found = lines(outcome="waits", waits_for=["max_sessions"], connections={"open": 5, "limit": 5})
    assert found[:2] == [
        "203.0.113.7 at frontend web waits until it is accepted",
        "accepted by worker 1; 5 of 5 connections of all clients are open; waits because of max_sessions",
    ]


def test_one_behind_a_proxy_and_by_a_route() -> None:
    pool = {**ANSWER["pool"], "exact": False, "by": "drawn at random by weight"}
    found = lines(
        any_worker_accepts=True, admission=None, route="*.example.com", pool=pool, proxy_header=True
    )
    assert found[1:6] == [
        "accepted by any worker, and handed over to worker 1",
        "a connection from this address must begin with a PROXY header, which names the client",
        "admitted: there are no lists and no limits on clients",
        "pool web, by the route *.example.com: drawn at random by weight",
        "the order of the backends is not known beforehand; these are possible",
    ]


def test_one_that_sends_requests() -> None:
    found = lines(outcome="requests")
    assert found[0] == "203.0.113.7 at frontend web is served; the route of each request says where it goes"
    assert any(line.startswith("requests that no route takes go to pool web: ") for line in found)
    assert len(lines(outcome="requests", pool=None)) < len(found)


def test_one_without_a_pool() -> None:
    assert "no_route" in lines(outcome="no_route", pool=None)[0]


REQUEST: dict[str, Any] = {
    "status": None,
    "cause": None,
    "meaning": None,
    "location": None,
    "client": "203.0.113.7",
    "limits": None,
    "mirror": None,
    "shares": None,
    "sent": ["GET /x HTTP/1.1", "Host: www.example.com"],
}


def request_lines(outcome: str, pool: Any = None, route: str | None = None, **request: Any) -> list[str]:
    return lines(outcome=outcome, pool=pool, route=route, request={**REQUEST, **request})


def test_a_request_that_a_backend_gets() -> None:
    limits = {
        "refused": None,
        "would_refuse": None,
        "under_way": {"used": 3, "limit": 10, "left": 7},
        "rate": {"used": 4, "limit": 4, "left": 0},
        "next_in": 0.5,
    }
    shares = {"stable": 95, "canary": 5}
    more = {"client": "192.0.2.9", "limits": limits, "shares": shares, "mirror": "next"}
    found = request_lines("connects", ANSWER["pool"], "api", **more)
    assert found[0] == "the request of 203.0.113.7 at frontend web goes to a backend"
    assert found[7:13] == [
        "the client that is reported is 192.0.2.9",
        "3 of 10 requests of all clients are under way",
        "0 of 4 requests of the client may come at once by the rate, the next in 0.5 s",
        "pool next gets a copy",
        "the clients of the route are shared by weight (stable: 95, canary: 5)",
        "pool web, by the route api: turns by weight",
    ]
    assert found[-4:] == ["", "the first backend gets", "  GET /x HTTP/1.1", "  Host: www.example.com"]


def test_a_request_that_is_answered_here() -> None:
    found = request_lines(
        "answered_here", None, "old", status=308, meaning="a route says so", location="https://b/", sent=None
    )
    start = "the request of 203.0.113.7 at frontend web is answered with "
    assert found[0] == f"{start}308, answered_here: a route says so"
    assert found[-2:] == ["the route old answers", "Location: https://b/"]
    found = request_lines("bad_request", status=400, cause="bad_target", meaning="it is none", sent=None)
    assert found[0] == f"{start}400, bad_request, bad_target: it is none"
