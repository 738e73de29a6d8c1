"""A B C D, A B C D: turns lie close together, so that drift of the machine hits all contestants alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import evolve

from bench.arena import Arena
from bench.bystanders import Reading
from bench.contestants import DIRECT
from bench.errors import Failed
from bench.measures import MEASURES, Turn
from bench.metrics import METRICS
from bench.results import Outcome

_NEEDS_PROXY = frozenset({"idle"})


def schedule(
    turns: int, measures: Sequence[str], contestants: Sequence[str]
) -> Iterator[tuple[int, str, str]]:
    """Give the order: within a turn each measure once, and at each measure each contestant once.

    The turns of one measure are thus spread over the whole run, and a bad minute of the machine spoils one of
    them instead of all.
    """
    for turn in range(1, turns + 1):
        for measure in measures:
            for contestant in contestants:
                if not (contestant == DIRECT and measure in _NEEDS_PROXY):
                    yield turn, measure, contestant


def play(
    arena: Arena, turns: int, measures: Sequence[str], seconds: int, tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Let everyone who runs have their turns.

    :param seconds: how long wrk runs in each.
    :param tell: is told of each as it ends.
    """
    outcomes = []
    for number, measure, contestant in schedule(turns, measures, list(arena.running)):
        before = Reading.now()
        outcome = _outcome(number, measure, Turn(arena, contestant, seconds))
        outcome = evolve(outcome, others=Reading.now().others(before))
        tell(outcome)
        outcomes.append(outcome)
    return outcomes


def _outcome(number: int, measure: str, turn: Turn) -> Outcome:
    try:
        figures = MEASURES[measure](turn)
    except Failed as failed:
        return Outcome(number, measure, turn.contestant, {}, str(failed))
    return Outcome(number, measure, turn.contestant, _existing(figures, turn.contestant))


def _existing(figures: dict[str, float], contestant: str) -> dict[str, float]:
    """Leave out what only a proxy has, where there is none."""
    return {
        key: value for key, value in figures.items() if not (contestant == DIRECT and METRICS[key].of_proxy)
    }
