"""The kernel's own epoll over real sockets, held to the reports that the memory poller is held to."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from support.edge_scripts import SCRIPTS, Ends, Script, named

PATIENCE = 20.0
"""Seconds after which a report that has not come will not come."""

QUIET = 0.03
"""Seconds within which what travels over the loopback device arrives."""


class RealEnds(Ends):
    """A connection over the loopback device."""

    def wait(self, event: int) -> bool:
        poll = select.poll()
        poll.register(self.ours if event == select.EPOLLOUT else self.theirs, event)
        return bool(poll.poll(QUIET * 1000))


@pytest.fixture
def ends() -> Iterator[RealEnds]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs, select.epoll() as poller:
        for sock in (ours, theirs):
            sock.setblocking(False)
        yield RealEnds(ours, theirs, poller)


def report(ends: RealEnds, expected: str) -> str:
    """What is reported, the last of it where what happened at once took its time to arrive."""
    seen, give_up = "", time.monotonic() + PATIENCE
    while reported := ends.poller.poll(PATIENCE if expected and seen != expected else QUIET, 10):
        ((_, events),) = reported
        seen = named(events)
        if time.monotonic() > give_up:
            break
    return seen


@pytest.mark.parametrize(("script", "reports"), [pytest.param(*row, id=row[0].__name__) for row in SCRIPTS])
def test_real_edges_are_the_same(ends: RealEnds, script: Script, reports: list[str]) -> None:
    seen = [report(ends, expected) for _, expected in zip(script(ends), reports, strict=True)]
    assert seen == reports
