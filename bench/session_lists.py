"""Lists of thousands of live sessions by the admin side, and visitors before them and during them."""

from __future__ import annotations

import json
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from attrs import frozen

from bench.errors import Failed
from bench.process import TREE, Child
from bench.quiet_sessions import quiet_sessions
from bench.web import HOST

SESSIONS = 5000
"""That are open and quiet while they are listed."""

ROUNDS = 5
"""In each, visitors come before lists and during them: so few are late that those of one round say little."""

LISTS = 10
"""In each round."""

_PAUSE = 0.1
"""Seconds between two lists, so that visitors meet the balancer with and without one."""


@frozen
class SessionLists:
    """What came of some.

    :param ratio: the time in which 99 of 100 visitors had their answer during them, to that just before: the
        median of the rounds.
    :param taken: milliseconds of the median one, from the connect to the last byte.
    """

    ratio: float
    taken: float


def list_often(folder: Path, backends: tuple[int, ...], workers: int, patience: float) -> SessionLists:
    """List the sessions of a balancer again and again.

    :param folder: for its files and those of the clients.
    :param backends: the ports of the backends.
    :param workers: how many processes serve.
    :param patience: how long each step may take, in seconds.
    :raises Failed: when a list is not whole, or a visitor gets no answer.
    """
    ratios: list[float] = []
    taken: list[float] = []
    with quiet_sessions(folder, backends, SESSIONS, workers, patience) as (port, admin):
        visits = [sys.executable, "-m", "bench.clients.visitors", f"{port}"]
        for _ in range(ROUNDS):
            with Child(visits, folder / "visitors.log", TREE) as visitors:
                (calm,) = visitors.wait_for("calm", patience)
                visitors.tell("go on")
                lists = [_list(admin) for _ in range(LISTS)]
                visitors.tell("enough")
                listing, _ = visitors.wait_for("crowded", patience)
            ratios.append(float(listing) / float(calm))
            taken += [_taken(found) for found in lists]
    return SessionLists(median(ratios), median(taken))


@frozen
class _List:
    """A list as it came, which is read later: that would take a core from the visitors.

    :param taken: milliseconds from the connect to the last byte.
    """

    taken: float
    body: bytes


def _list(port: int) -> _List:
    """List all sessions."""
    time.sleep(_PAUSE)
    began = time.monotonic()
    body = _fetch(port, f"/api/v1/sessions?limit={SESSIONS}&min_age=1")
    return _List((time.monotonic() - began) * 1e3, body)


def _taken(found: _List) -> float:
    """Give the milliseconds that a list took.

    :raises Failed: when not all sessions are there.
    """
    count = len(json.loads(found.body)["sessions"])
    if count != SESSIONS:
        raise Failed(f"{count} of {SESSIONS} sessions are listed")
    return found.taken


def _fetch(port: int, path: str) -> bytes:
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != 200:
        raise Failed(f"the admin side has answered {response.status}: {response.read(200)!r}")
    return response.read()
