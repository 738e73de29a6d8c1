"""The results in words and numbers: one page of Markdown, one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from attrs import asdict

from bench.contestants import TITLES
from bench.metrics import METRICS
from bench.reach import Verdict, judge
from bench.results import Median, Results, medians

_NOTHING = "-"


def as_markdown(results: Results) -> str:
    """Render the page: what ran, the medians, what is reached, what did not work."""
    sections = (_made_of(results), _medians(results), _reach(results), _notes(results))
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def as_json(results: Results) -> str:
    """Render everything that is known, the figures of each turn included."""
    found = medians(results.outcomes)
    whole = {
        **asdict(results),
        "medians": {
            metric: {who: asdict(value) for who, value in of.items()} for metric, of in found.items()
        },
        "reach": [
            {**asdict(verdict), "title": verdict.target.title, "met": verdict.met} for verdict in judge(found)
        ],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def number(value: float) -> str:
    """Write a figure with three digits that count, or all of them before the point."""
    for least, decimals in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{decimals}f}"
    return f"{value:.3f}"


def _made_of(results: Results) -> list[str]:
    """Say what this is a run of."""
    programs = [f"{TITLES.get(key, key)} {version}" for key, version in results.versions.items()]
    machine = [f"{fact}: {value}" for fact, value in results.machine.items()]
    turns = f"{results.turns} turn{'' if results.turns == 1 else 's'}"
    return [
        f"{results.taken}; medians of {turns}, wrk ran {results.seconds} s in each.",
        f"{'; '.join(machine)}. {_others(results)}",
        f"{'; '.join(programs)}.",
    ]


def _others(results: Results) -> str:
    """Say how quiet the machine was."""
    shares = [outcome.others for outcome in results.outcomes] or [0.0]
    middle, most = median(shares), max(shares)
    return f"Other programs took {middle:.0%} of the cores in the median turn, {most:.0%} in the worst."


def _medians(results: Results) -> list[str]:
    """Make the table of metrics and contestants."""
    found = medians(results.outcomes)
    having = {outcome.contestant for outcome in results.outcomes}
    present = [contestant for contestant in results.contestants if contestant in having]
    rows = (
        [metric.title, metric.unit, *(_cell(found[key].get(who), results.turns) for who in present)]
        for key, metric in METRICS.items()
        if key in found
    )
    return _table(["", "unit", *(TITLES[who] for who in present)], rows, left=2)


def _cell(found: Median | None, asked: int) -> str:
    if found is None:
        return _NOTHING
    return number(found.value) + _mark(found.turns, asked)


def _mark(turns: int, asked: int) -> str:
    return "" if turns >= asked else f" ({turns} of {asked} turns)"


def _reach(results: Results) -> list[str]:
    """Make the table of targets; those of measures that were not asked for are left out."""
    found = medians(results.outcomes)
    has_failures = any(outcome.failed for outcome in results.outcomes)
    verdicts = [verdict for verdict in judge(found) if has_failures or verdict.target.metric in found]
    rows = (_reach_row(verdict, results.turns) for verdict in verdicts)
    return _table(["reach", "target", "value", "met"], rows, left=1)


def _reach_row(verdict: Verdict, asked: int) -> list[str]:
    target = verdict.target
    bound = f"{'≥' if target.higher else '≤'} {target.bound:,g}"
    if verdict.value is None:
        missing = ", ".join(TITLES[who] for who in verdict.missing)
        return [target.title, bound, _NOTHING, f"not known, without figures of {missing}"]
    value = number(verdict.value) + _mark(verdict.turns, asked)
    return [target.title, bound, value, "yes" if verdict.met else "**no**"]


def _notes(results: Results) -> list[str]:
    """List who did not run and which turns gave nothing."""
    return [*_absences(results), *_failures(results)]


def _absences(results: Results) -> Iterator[str]:
    for who, why in results.absent.items():
        yield f"* {TITLES[who]} did not take part: {why}"
    for who, why in results.without_tls.items():
        yield f"* {TITLES[who]} did not terminate TLS: {why}"


def _failures(results: Results) -> Iterator[str]:
    for outcome in results.outcomes:
        if outcome.failed:
            yield f"* {TITLES[outcome.contestant]}, {outcome.measure}, turn {outcome.turn}: {outcome.failed}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> list[str]:
    """Make a table whose first `left` columns are words and the others numbers."""
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
