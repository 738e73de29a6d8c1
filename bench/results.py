"""What a run has found, and the medians of it."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from attrs import field, frozen


@frozen
class Outcome:
    """What came of one turn.

    :param turn: its number, from 1.
    :param measure: the measure's name.
    :param contestant: the contestant's key.
    :param figures: what was measured, by metric; empty when it failed.
    :param failed: why nothing was measured; empty when it was.
    :param others: the share of all cores that other programs took meanwhile, 0 to 1.
    """

    turn: int
    measure: str
    contestant: str
    figures: dict[str, float]
    failed: str = ""
    others: float = 0.0


@frozen
class Results:
    """One run; figures of different runs do not belong together.

    :param taken: the day, in UTC.
    :param turns: how many turns each contestant was to have at each measure.
    :param seconds: how long wrk ran in each.
    :param contestants: who was asked for, in the order of their turns.
    :param machine: what it ran on, by name of the fact.
    :param versions: the programs' versions, by contestant, and by name for the rest.
    :param absent: why contestants that were asked for did not run.
    :param without_tls: why contestants that were asked for did not terminate TLS.
    """

    taken: str
    turns: int
    seconds: int
    contestants: tuple[str, ...]
    machine: dict[str, str]
    versions: dict[str, str]
    absent: dict[str, str]
    outcomes: tuple[Outcome, ...]
    without_tls: dict[str, str] = field(factory=dict)


@frozen
class Median:
    """The middle one of a contestant's figures.

    :param turns: how many figures there are.
    """

    value: float
    turns: int


Medians = dict[str, dict[str, Median]]
"""By metric, and by contestant."""


def medians(outcomes: Iterable[Outcome]) -> Medians:
    """Give the median of each metric for each contestant that has figures of it."""
    figures: dict[str, dict[str, list[float]]] = {}
    for outcome in outcomes:
        for metric, value in outcome.figures.items():
            figures.setdefault(metric, {}).setdefault(outcome.contestant, []).append(value)
    return {
        metric: {contestant: Median(median(values), len(values)) for contestant, values in of.items()}
        for metric, of in figures.items()
    }
