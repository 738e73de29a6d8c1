"""A B C D, A B C D: turns lie close together, so that drift of the machine hits all contestants alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import evolve

from bench.arena import Arena
from bench.bystanders import Reading
from bench.contestants import DIRECT
from bench.errors import Failed
from bench.measures import MEASURES, Measure, Turn
from bench.metrics import METRICS
from bench.results import Outcome


def players(measures: Sequence[str], running: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Give the contestants of each measure, in the order of their turns.

    :param running: the contestants that answer, by arena.
    """
    return {
        name: [who for who in running[MEASURES[name].arena] if _plays(who, MEASURES[name])]
        for name in measures
    }


def _plays(who: str, measure: Measure) -> bool:
    if who == DIRECT and measure.of_proxy:
        return False
    return measure.contestants is None or who in measure.contestants


def schedule(turns: int, players: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, str, str]]:
    """Give the order: within a turn each measure once, and at each measure each contestant once.

    :param players: the contestants of each measure.

    The turns of one measure are thus spread over the whole run, and a bad minute of the machine spoils one of
    them instead of all.
    """
    for turn in range(1, turns + 1):
        for measure, contestants in players.items():
            for contestant in contestants:
                yield turn, measure, contestant


def play(
    arenas: Mapping[str, Arena],
    turns: int,
    measures: Sequence[str],
    seconds: int,
    tell: Callable[[Outcome], None],
) -> list[Outcome]:
    """Let everyone who runs have their turns.

    :param arenas: by name, those that the measures need.
    :param seconds: how long wrk runs in each.
    :param tell: is told of each as it ends.
    """
    outcomes = []
    running = {name: list(arena.running) for name, arena in arenas.items()}
    for number, measure, contestant in schedule(turns, players(measures, running)):
        turn = Turn(arenas[MEASURES[measure].arena], contestant, seconds)
        before = Reading.now()
        outcome = _outcome(number, measure, turn)
        outcome = evolve(outcome, others=Reading.now().others(before))
        tell(outcome)
        outcomes.append(outcome)
    return outcomes


def _outcome(number: int, measure: str, turn: Turn) -> Outcome:
    try:
        figures = MEASURES[measure].take(turn)
    except Failed as failed:
        return Outcome(number, measure, turn.contestant, {}, str(turn.running.explain(failed)))
    return Outcome(number, measure, turn.contestant, _existing(figures, turn.contestant))


def _existing(figures: dict[str, float], contestant: str) -> dict[str, float]:
    """Leave out what only a proxy has, where there is none."""
    return {
        key: value for key, value in figures.items() if not (contestant == DIRECT and METRICS[key].of_proxy)
    }
