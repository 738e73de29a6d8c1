"""The garbage collector of a daemon looks seldom, and still often enough for what others leave in circles."""

from __future__ import annotations

import sys

from support.process import run

PROGRAM = """
import collections, gc
from tcpbalance.collector import spare_the_collector

alive = most = 0

class Session:
    # As many objects as a session of Twisted's TLS leaves, that refer to one another.
    def __init__(self):
        global alive, most
        self.parts = [[self] for _ in range(22)]
        alive += 1
        most = max(most, alive)

    def __del__(self):
        global alive
        alive -= 1

spare_the_collector()
looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]) if phase == "start" else None)
open_now = collections.deque(maxlen=300)
for _ in range(int({count})):
    session = Session()
    {circles} or session.parts.clear()
    open_now.append(session)
print(most, len(looks), len([generation for generation in looks if generation == 2]))
"""


def figures(count: int, circles: bool) -> tuple[int, int, int]:
    """Have sessions come and go, 300 at once.

    :returns: how many there were at most, the looks of the collector, and those at everything.
    """
    most, looks, full = run([sys.executable, "-c", PROGRAM.format(count=count, circles=circles)]).split()
    return int(most), int(looks), int(full)


def test_circles_of_dead_sessions_are_found_in_time() -> None:
    most, looks, _ = figures(30_000, circles=True)
    assert looks >= 1
    assert most < 10_000


def test_where_there_are_no_circles_there_is_next_to_no_look() -> None:
    most, looks, full = figures(30_000, circles=False)
    assert most <= 302
    assert looks <= 10
    assert full == 0
