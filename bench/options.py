"""What can be asked for on the command line."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import frozen

from bench.contestants import TITLES
from bench.measures import MEASURES

RESULTS = Path(__file__).parent / "results"


@frozen
class Options:
    """What is to be done.

    :param turns: of each contestant at each measure.
    :param seconds: how long wrk runs in each.
    :param only: the measures.
    :param contestants: their keys, in the order of their turns.
    :param results: the folder to write to.
    """

    turns: int
    seconds: int
    only: tuple[str, ...]
    contestants: tuple[str, ...]
    results: Path


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; a mistake in it ends the process."""
    parser = ArgumentParser("bench", description="Measure tcpbalance against other proxies, on loopback.")
    add = parser.add_argument
    add("--turns", type=positive, default=5, help="of each contestant at each measure (default 5)")
    add("--seconds", type=positive, default=2, help="how long wrk runs in each turn (default 2)")
    add("--only", type=some_of(MEASURES), default=tuple(MEASURES), help=",".join(MEASURES))
    add("--contestants", type=some_of(TITLES), default=tuple(TITLES), help=",".join(TITLES))
    add("--results", type=Path, default=RESULTS, help="folder to write to (default bench/results)")
    return Options(**vars(parser.parse_args(arguments)))


def positive(text: str) -> int:
    """Read a number from 1.

    :raises ArgumentTypeError: when it is none.
    """
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"must be a number from 1, got {text!r}")
    return int(text)


def some_of(names: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Make a reader of names with commas between them; they come out in the order of `names`."""
    known = tuple(names)

    def read(text: str) -> tuple[str, ...]:
        wanted = text.split(",")
        for name in wanted:
            if name not in known:
                raise ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return tuple(name for name in known if name in wanted)

    return read
