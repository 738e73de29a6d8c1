"""The memory poller reports what the kernel's does; tests/loopback holds the kernel's to the same."""

from __future__ import annotations

import select

import pytest

from support.edge_scripts import SCRIPTS, Ends, Script, named
from support.memory_poller import MemoryPoller
from support.memory_socket import connected_pair

EPOLL = 1


@pytest.mark.parametrize(("script", "reports"), [pytest.param(*row, id=row[0].__name__) for row in SCRIPTS])
def test_edges_as_the_kernel_reports_them(script: Script, reports: list[str]) -> None:
    ours, theirs = connected_pair()
    poller = MemoryPoller(EPOLL, {ours.number: ours})
    seen = []
    for _ in script(Ends(ours, theirs, poller)):
        readable = poller.events()
        reported = poller.poll(0, 10)
        assert readable == (select.EPOLLIN if reported else 0)
        assert poller.poll(0, 10) == [], "an edge comes once"
        seen.append(named(reported[0][1]) if reported else "")
    assert seen == reports


def test_what_does_not_fit_into_one_report_comes_in_the_next() -> None:
    pairs = [connected_pair() for _ in range(3)]
    sockets = {number: pair[0] for number, pair in enumerate(pairs)}
    poller = MemoryPoller(EPOLL, sockets)
    for number, sock in sockets.items():
        sock.number = number
        poller.register(number, select.EPOLLIN | select.EPOLLET)
        pairs[number][1].send(b"x")
    assert [number for number, _ in poller.poll(0, 2)] == [0, 1]
    assert [number for number, _ in poller.poll(0, 2)] == [2]
