"""A report has the bytes of open sessions, too, and never less of them than one before it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any

import pytest

from support.scene import ONE, RETRY_ON_RESET, TWO, Scene
from tcpbalance.control.in_pieces import at_once
from tcpbalance.control.open_bytes import SESSIONS_AT_ONCE
from tcpbalance.control.report import EVERYTHING, Entry, report_of

Carrier = Callable[..., Scene]


def pieces(scene: Scene) -> Generator[None, None, list[Entry]]:
    frontend = scene.frontend
    return report_of(EVERYTHING, {"frontend": frontend}, [scene.pool], [frontend.registry])


def carried(entries: list[Entry]) -> dict[str, tuple[int, int]]:
    """Give the bytes of both directions, of the frontend and of each backend."""
    return {
        key[-1]: (counters["bytes_in"], counters["bytes_out"])
        for key, counters in entries
        if "bytes_in" in counters and key[0] != "pool"
    }


def now(scene: Scene) -> dict[str, tuple[int, int]]:
    return carried(at_once(pieces(scene)))


def test_bytes_are_there_while_a_session_is_open_and_after_it(make_scene: Carrier) -> None:
    scene = make_scene()
    client, backend = scene.joined(early=b"question")
    assert now(scene) == {"frontend": (8, 0), ONE: (0, 0)}
    backend.send(bytes(100_000))
    scene.run()
    assert now(scene) == {"frontend": (8, 100_000), ONE: (8, 100_000)}
    client.send(b"more")
    backend.send(b"more")
    scene.run()
    in_the_end = {"frontend": (12, 100_004), ONE: (12, 100_004)}
    assert now(scene) == in_the_end
    backend.finish()
    client.finish()
    scene.run()
    assert len(scene.records) == 1
    assert now(scene) == in_the_end


def test_what_one_backend_got_and_another_one_answered_is_the_others(make_scene: Carrier) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    scene.connect(early=b"question")
    scene.run()
    first = scene.backends[ONE].connections or scene.backends[TWO].connections
    assert sorted(now(scene).values()) == [(0, 0), (0, 0), (8, 0)]
    first[-1].reset()
    scene.run()
    (second,) = [it for b in scene.backends.values() for it in b.connections if it is not first[-1]]
    second.send(b"answer")
    scene.run()
    assert sorted(now(scene).values()) == [(0, 0), (8, 6), (8, 6)]


@pytest.mark.parametrize("steps", range(8))
def test_one_that_ends_meanwhile_counts_once(make_scene: Carrier, steps: int) -> None:
    scene = make_scene()
    count = 2 * SESSIONS_AT_ONCE + 10
    clients: list[Any] = [scene.connect(early=b"question") for _ in range(count)]
    scene.run()
    for connection in scene.backends[ONE].connections:
        connection.send(b"answer")
    scene.run()
    expected = {"frontend": (8 * count, 6 * count), ONE: (8 * count, 6 * count)}
    work = pieces(scene)
    for _ in range(steps):
        next(work, None)
    for connection in scene.backends[ONE].connections:
        connection.finish()
    for client in clients:
        client.finish()
    scene.run()
    assert len(scene.records) == count
    if inspect.getgeneratorstate(work) != inspect.GEN_CLOSED:
        assert carried(at_once(work)) == expected
    assert now(scene) == expected
