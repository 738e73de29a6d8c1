"""A report has the bytes of requests under way, too, and never less of them than one before it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator

import pytest

from support.http_scene import GET, HELLO, ONE, HttpScene
from tcpbalance.control import open_bytes
from tcpbalance.control.in_pieces import at_once
from tcpbalance.control.report import EVERYTHING, Entry, report_of

MakeScene = Callable[..., HttpScene]

BEGUN = HELLO[:-1]
"""A response that is not whole."""


def pieces(scene: HttpScene) -> Generator[None, None, list[Entry]]:
    frontend = scene.frontend
    return report_of(EVERYTHING, {"frontend": frontend}, [scene.pool], [frontend.registry])


def carried(entries: list[Entry]) -> dict[str, tuple[int, int]]:
    """Give the bytes of both directions, of the frontend and of the backend."""
    return {
        key[-1]: (counters["bytes_in"], counters["bytes_out"])
        for key, counters in entries
        if key[0] != "pool"
    }


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("goes_on", [False, True])
def test_requests_that_end_meanwhile_count_once(
    make_scene: MakeScene, steps: int, monkeypatch: pytest.MonkeyPatch, *, goes_on: bool
) -> None:
    monkeypatch.setattr(open_bytes, "SESSIONS_AT_ONCE", 4)
    scene = make_scene()
    count = 10
    clients = [scene.connect(GET) for _ in range(count)]
    for connection in scene.connections:
        scene.send(connection, BEGUN)
    before = carried(at_once(pieces(scene)))
    assert before == dict.fromkeys(("frontend", ONE), (len(GET) * count, len(BEGUN) * count))
    work = pieces(scene)
    for _ in range(steps):
        next(work, None)
    for connection in scene.connections:
        scene.send(connection, HELLO[-1:])
    for client in clients if goes_on else ():
        scene.send(client, GET)
    after = carried(at_once(pieces(scene)))
    requests = 2 * count if goes_on else count
    assert after["frontend"] == (len(GET) * requests, len(HELLO) * count)
    assert after[ONE] == (len(GET) * count, len(HELLO) * count)
    if inspect.getgeneratorstate(work) != inspect.GEN_CLOSED:
        meanwhile = carried(at_once(work))
        for name in ("frontend", ONE):
            of_both_ways = zip(before[name], meanwhile[name], after[name], strict=True)
            assert all(first <= then <= last for first, then, last in of_both_ways)
