"""A flood from one address, and visitors from others before it and during it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from attrs import frozen

from bench.process import TREE, Child


@frozen
class Flood:
    """What came of one.

    :param calm: milliseconds in which 99 of 100 visitors had their answer before it.
    :param flooded: the same during it.
    :param stayed: the connections of those meant to stay that were still open at its end.
    :param seconds: how long it lasted.
    """

    calm: float
    flooded: float
    stayed: int
    seconds: float


def unleash(port: int, folder: Path, patience: float) -> Flood:
    """Flood a port.

    :param folder: for the output of the clients.
    :param patience: how long each step may take, in seconds.
    :raises Failed: when a visitor gets no answer.
    """
    with _client("visitors", port, folder) as visitors:
        (calm,) = visitors.wait_for("calm", patience)
        began = time.monotonic()
        with _client("flooder", port, folder) as flooder:
            visitors.tell("go on")
            (stayed,) = flooder.wait_for("open", patience)
            seconds = time.monotonic() - began
            visitors.tell("enough")
            flooded, _ = visitors.wait_for("crowded", patience)
    return Flood(float(calm), float(flooded), int(stayed), seconds)


def _client(name: str, port: int, folder: Path) -> Child:
    return Child([sys.executable, "-m", f"bench.clients.{name}", f"{port}"], folder / f"{name}.log", TREE)
