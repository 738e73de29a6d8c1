"""What is measured: each measure puts one contestant under one kind of load and gives its figures."""

from __future__ import annotations

import sys
from collections.abc import Callable

from attrs import frozen

from bench import wrk
from bench.arena import Arena, Running
from bench.contestants import PROXIES
from bench.process import TREE, Child, run

IDLE_FEW, IDLE_MANY = 200, 4000
"""Connections that are open before memory is looked at, for what is made once; and those opened then."""

_PATIENCE = 120.0
"""How long a client of ours may take, in seconds."""

_CLIENT = (sys.executable, "-m")


@frozen
class Turn:
    """One contestant's turn.

    :param arena: where it runs.
    :param contestant: its key.
    :param seconds: how long wrk runs.
    """

    arena: Arena
    contestant: str
    seconds: int

    @property
    def running(self) -> Running:
        """The contestant."""
        return self.arena.running[self.contestant]


Figures = dict[str, float]
Measure = Callable[[Turn], Figures]


def connections(turn: Turn) -> Figures:
    """Measure requests that have a connection each."""
    return _under_wrk("connections", turn, close=True)


def requests(turn: Turn) -> Figures:
    """Measure requests on connections that stay open."""
    return _under_wrk("requests", turn, close=False)


def _under_wrk(name: str, turn: Turn, *, close: bool) -> Figures:
    cpu = turn.running.cpu()
    load = wrk.load(turn.running.port, turn.seconds, close=close)
    microseconds = (turn.running.cpu() - cpu) / 1e3
    return {
        f"{name}_rate": load.rate,
        f"{name}_p50": load.p50,
        f"{name}_p99": load.p99,
        f"{name}_cpu": microseconds / load.requests,
    }


def download(turn: Turn) -> Figures:
    """Measure a download of a GiB."""
    return _downloads("download", turn, 1)


def downloads(turn: Turn) -> Figures:
    """Measure four of them at once."""
    return _downloads("downloads", turn, 4)


def _downloads(name: str, turn: Turn, count: int) -> Figures:
    cpu = turn.running.cpu()
    client = [*_CLIENT, "bench.clients.download", f"{turn.running.port}", f"{count}"]
    size, seconds = run(client, _PATIENCE).split()
    milliseconds = (turn.running.cpu() - cpu) / 1e6
    return {f"{name}_rate": _gigabits(size, seconds), f"{name}_cpu": milliseconds / count}


def idle(turn: Turn) -> Figures:
    """Measure what thousands of quiet connections keep in memory.

    The process is a new one each time, because memory that was given back by earlier connections would be
    taken again without being seen.
    """
    with turn.arena.fresh(PROXIES[turn.contestant]) as running:
        client = [*_CLIENT, "bench.clients.idle", f"{running.port}", f"{IDLE_FEW}", f"{IDLE_MANY}"]
        with Child(client, turn.arena.folder / "idle.log", TREE) as child:
            child.wait_for("few", _PATIENCE)
            memory = running.memory()
            child.tell("go on")
            child.wait_for("many", _PATIENCE)
            return {"idle_memory": (running.memory() - memory) / IDLE_MANY}


def beside(turn: Turn) -> Figures:
    """Measure requests on open connections, first alone and then with a bulk download beside them."""
    port = turn.running.port
    alone = wrk.load(port, turn.seconds)
    with Child([*_CLIENT, "bench.clients.bulk", f"{port}"], turn.arena.folder / "bulk.log", TREE) as child:
        child.wait_for("flowing", _PATIENCE)
        child.tell("count")
        crowded = wrk.load(port, turn.seconds)
        child.tell("enough")
        size, seconds = child.wait_for("counted", _PATIENCE)
    return {
        "beside_p99": crowded.p99,
        "beside_ratio": crowded.p99 / alone.p99,
        "beside_rate": crowded.rate,
        "beside_bulk": _gigabits(size, seconds),
    }


def _gigabits(size: str, seconds: str) -> float:
    return int(size) * 8 / 1e9 / float(seconds)


MEASURES: dict[str, Measure] = {
    "connections": connections,
    "requests": requests,
    "download": download,
    "downloads": downloads,
    "idle": idle,
    "beside": beside,
}
