"""Measure, and write what was found: `make bench`."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench import facts, picture, report
from bench.arena import Arena, Running
from bench.backends import backends
from bench.contestants import DIRECT, PROXIES, TITLES
from bench.contestants.proxy import DESCRIPTORS
from bench.errors import Failed
from bench.metrics import METRICS
from bench.options import Options, read_options
from bench.results import Outcome, Results
from bench.turns import play


def measure(chosen: Options, folder: Path) -> Results:
    """Put everyone up, let them have their turns, and take everything down again.

    :param folder: for what is needed meanwhile.
    :raises Failed: when there is no wrk, or no backend.
    """
    versions = facts.tools()
    (folder / "backends").mkdir()
    with backends(folder / "backends") as ports:
        arena = Arena(folder, ports)
        with arena.proxies({key: PROXIES[key] for key in chosen.contestants if key != DIRECT}):
            if DIRECT in chosen.contestants:
                arena.running[DIRECT] = Running(ports[0])
            tell_absent(arena)
            outcomes = play(arena, chosen.turns, chosen.only, chosen.seconds, tell_outcome)
    return Results(
        taken=datetime.now(UTC).date().isoformat(),
        turns=chosen.turns,
        seconds=chosen.seconds,
        contestants=chosen.contestants,
        machine=facts.machine(),
        versions={key: PROXIES[key].version() for key in arena.running if key != DIRECT} | versions,
        absent=arena.absent,
        outcomes=tuple(outcomes),
    )


def tell_absent(arena: Arena) -> None:
    """Say who is not there."""
    for key, why in arena.absent.items():
        print(f"{TITLES[key]} does not take part: {why}", flush=True)


def tell_outcome(outcome: Outcome) -> None:
    """Say how a turn went."""
    figures = [f"{report.number(value)} {METRICS[key].unit}" for key, value in outcome.figures.items()]
    what = f"turn {outcome.turn}  {outcome.measure:<12}{TITLES[outcome.contestant]:<14}"
    print(what, outcome.failed or "  ".join(figures), flush=True)


def write(results: Results, folder: Path) -> None:
    """Write the table, the figures and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(report.as_markdown(results))
    (folder / "results.json").write_text(report.as_json(results))
    picture.draw(results, folder / "results.svg")


def main() -> int:
    """Run all of it; returns the exit status."""
    chosen = read_options()
    # Ended as by Ctrl-C, in order: nothing that was started stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS), hard))
    try:
        with tempfile.TemporaryDirectory(prefix="tcpbalance-bench-") as folder:
            results = measure(chosen, Path(folder))
    except Failed as failed:
        print(f"nothing can be measured: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing is written", file=sys.stderr)
        return 130
    write(results, chosen.results)
    print(f"\n{report.as_markdown(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
