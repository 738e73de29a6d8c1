"""Reloads of a large configuration, each with one change, and visitors before them and during them."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import time
from pathlib import Path
from statistics import median

from attrs import frozen

from bench.errors import Failed
from bench.ports import free_port
from bench.process import TREE, Child
from bench.web import wait_for_answer

FRONTENDS, BACKENDS = 50, 1000
"""Of the configuration; each frontend has a pool of its own with an equal share of the backends."""

RELOADS = 20

_POLL = 0.001
"""Seconds between two looks for the line that a reload ends with."""

_FRONTEND = """
[frontends.f{number}]
listen = "127.0.0.1:{port}"
pool = "p{number}"

[pools.p{number}]
balance = "power_of_two_choices"
backends = [
{backends}
]
"""

_BACKEND = '  {{ name = "b{number}", address = "{address}", weight = {weight}, backup = {backup} }},'


@frozen
class Reloads:
    """What came of some.

    :param calm: milliseconds in which 99 of 100 visitors had their answer before them.
    :param reloading: the same during them.
    :param longest: milliseconds that the slowest visitor took during them.
    :param taken: milliseconds of the median one, from the signal to the line in the log.
    """

    calm: float
    reloading: float
    longest: float
    taken: float


@frozen
class Place:
    """Where the one process of tcpbalance runs that is reloaded.

    :param folder: its own.
    :param ports: where its frontends listen.
    :param backends: the ports of the backends; all others that it has are backups, which nobody needs.
    """

    folder: Path
    ports: tuple[int, ...]
    backends: tuple[int, ...]

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "tcpbalance.toml"

    def write(self, weight: int) -> None:
        """Put a configuration in the place of the one that is there, in one step.

        :param weight: of the first backend, which is all that differs.
        """
        new = self.folder / "new.toml"
        new.write_text(self._text(weight))
        new.rename(self.config)

    def _text(self, weight: int) -> str:
        frontends = [
            _FRONTEND.format(number=number, port=port, backends=self._pool(100 if number else weight))
            for number, port in enumerate(self.ports)
        ]
        return "".join(['shutdown_grace = "1s"\n', *frontends])

    def _pool(self, weight: int) -> str:
        there = len(self.backends)
        return "\n".join(
            _BACKEND.format(
                number=number,
                address=f"127.0.0.{1 + number // there}:{self.backends[number % there]}",
                weight=100 if number else weight,
                backup="false" if number < there else "true",
            )
            for number in range(BACKENDS // FRONTENDS)
        )


def reload_often(folder: Path, backends: tuple[int, ...], patience: float) -> Reloads:
    """Reload one process again and again.

    :param folder: for its files and those of the visitors.
    :param backends: the ports of the backends.
    :param patience: how long each step may take, in seconds.
    :raises Failed: when a reload fails, or a visitor gets no answer.
    """
    place = Place(folder, tuple(free_port() for _ in range(FRONTENDS)), backends)
    place.write(weight=100)
    twistd = Path(sysconfig.get_path("scripts")) / "twistd"
    command = [f"{twistd}", "-n", "--pidfile=", "tcpbalance", "--config", f"{place.config}"]
    visits = [sys.executable, "-m", "bench.clients.visitors", f"{place.ports[0]}"]
    with Child(command, folder / "output.log", folder) as child:
        wait_for_answer(place.ports[0], child)
        with Child(visits, folder / "visitors.log", TREE) as visitors:
            (calm,) = visitors.wait_for("calm", patience)
            visitors.tell("go on")
            taken = [_reload(child, place, number, patience) for number in range(1, RELOADS + 1)]
            visitors.tell("enough")
            reloading, longest = visitors.wait_for("crowded", patience)
    return Reloads(float(calm), float(reloading), float(longest), median(taken))


def _reload(child: Child, place: Place, number: int, patience: float) -> float:
    """Reload a process, and give the milliseconds that it took.

    :param number: of this reload, from 1.
    """
    place.write(weight=100 + number)
    began = time.monotonic()
    os.kill(child.pid, signal.SIGHUP)
    while child.output.count("] reloaded ") < number:
        child.check()
        if time.monotonic() - began > patience:
            raise Failed(f"reload {number}: not within {patience:g} s")
        time.sleep(_POLL)
    return (time.monotonic() - began) * 1e3
