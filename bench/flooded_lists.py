"""Ten thousand live sessions, listed page by page by the admin side during a flood.

A session takes two descriptors of the balancer, and a process may have 20,000: so two workers have the
sessions, by halves. The client that holds them and the server behind have one for each.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from threading import Event

from attrs import field, frozen

from bench.errors import Failed
from bench.flood import Flood, unleash
from bench.quiet_sessions import quiet_sessions
from bench.web import HOST

SESSIONS = 10_000
"""That are open and quiet; those of the flood come to them."""

WORKERS = 2

PAGE = 1000
"""Sessions of a page: ten requests for those that are quiet."""

ROUNDS = 3
"""In each, a flood without lists comes before one with them."""

_PAUSE = 0.1
"""Seconds between two lists."""

_QUIET = "127.1."
"""How the addresses of the quiet clients begin, and no others."""

_NEXT = re.compile(rb'"next": ?"([^"]+)"}\s*$')


@frozen
class FloodedLists:
    """What came of some.

    :param taken: milliseconds of the median page, from the connect to the last byte.
    :param longest: the same of the longest one.
    :param p99: milliseconds in which 99 of 100 visitors had their answer during the flood and the lists: the
        median of the rounds.
    :param ratio: to the same during the flood before it, without lists: the median of the rounds.
    :param refused: of a hundred pages, those that were answered by an error with its reason.
    """

    taken: float
    longest: float
    p99: float
    ratio: float
    refused: float


@frozen
class Pages:
    """The pages of some lists as they came. They are read later: that would take a core from the others.

    :param taken: milliseconds of each page.
    :param lists: the pages of each list that came whole.
    :param refusals: the reasons of the pages that were refused; a list ends with such a page.
    """

    taken: list[float] = field(factory=list)
    lists: list[list[bytes]] = field(factory=list)
    refusals: list[str] = field(factory=list)

    def check(self) -> None:
        """See that each list has each quiet session once.

        :raises Failed: one has not, or there is none.
        """
        if not self.lists:
            raise Failed(f"no list of {SESSIONS} sessions came whole: {self.refusals[:3]}")
        for pages in self.lists:
            sessions = [session for page in pages for session in json.loads(page)["sessions"]]
            quiet = [session["id"] for session in sessions if session["client"].startswith(_QUIET)]
            if (len(quiet), len(set(quiet))) != (SESSIONS, SESSIONS):
                raise Failed(
                    f"{len(quiet)} of {SESSIONS} sessions are listed, {len(set(quiet))} of them once"
                )


def list_during_floods(folder: Path, backends: tuple[int, ...], patience: float) -> FloodedLists:
    """List the sessions of a balancer page by page while it is flooded.

    :param folder: for its files and those of the clients.
    :param backends: the ports of the backends.
    :param patience: how long each step may take, in seconds.
    :raises Failed: when a list is not whole, an error has no reason, or a visitor gets no answer.
    """
    alone: list[float] = []
    listed: list[float] = []
    pages = Pages()
    with quiet_sessions(folder, backends, SESSIONS, WORKERS, patience) as (port, admin):
        for _ in range(ROUNDS):
            alone.append(unleash(port, folder, patience).flooded)
            listed.append(_unleash_and_list(port, admin, folder, patience, pages).flooded)
    pages.check()
    return FloodedLists(
        median(pages.taken),
        max(pages.taken),
        median(listed),
        median(its / before for its, before in zip(listed, alone, strict=True)),
        100 * len(pages.refusals) / (len(pages.taken) + len(pages.refusals)),
    )


def _unleash_and_list(port: int, admin: int, folder: Path, patience: float, pages: Pages) -> Flood:
    over = Event()
    with ThreadPoolExecutor(1) as thread:
        listing = thread.submit(_list_until, over, admin, pages)
        try:
            found = unleash(port, folder, patience)
        finally:
            over.set()
        listing.result()
    return found


def _list_until(over: Event, port: int, pages: Pages) -> None:
    while not over.wait(_PAUSE):
        _list(port, pages)


def _list(port: int, pages: Pages) -> None:
    """List all sessions, page by page."""
    found: list[bytes] = []
    after = ""
    while True:
        began = time.monotonic()
        status, body = _fetch(port, f"/api/v1/sessions?limit={PAGE}{after}")
        if status != 200:
            pages.refusals.append(_reason(body))
            return
        pages.taken.append((time.monotonic() - began) * 1e3)
        found.append(body)
        more = _NEXT.search(body)
        if more is None:
            pages.lists.append(found)
            return
        after = f"&after={more[1].decode()}"


def _fetch(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def _reason(body: bytes) -> str:
    """Give the reason of an error.

    :raises Failed: it has none.
    """
    try:
        return f"{json.loads(body)['error']['message']}"
    except (ValueError, KeyError, TypeError):
        raise Failed(f"an error without a reason: {body[:200]!r}") from None
