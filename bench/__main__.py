"""Measure, and write what was found: `make bench`."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench import certificates, facts, picture, report
from bench.arena import Arena, Running
from bench.backends import backends
from bench.contestants import DIRECT, HTTP_PROXIES, PROXIES, TERMINATORS, TITLES
from bench.contestants.proxy import DESCRIPTORS, Proxy
from bench.errors import Failed
from bench.measures import HTTP, PLAIN, arenas_of
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
    with ExitStack() as stack:
        ports = stack.enter_context(backends(folder / "backends"))
        arenas = {name: _arena(name, folder, ports) for name in arenas_of(chosen.only)}
        for arena in arenas.values():
            stack.enter_context(arena.proxies(_wanted(arena, chosen.contestants)))
            if DIRECT in chosen.contestants and not arena.tls:
                arena.running[DIRECT] = Running(ports[0])
            tell_absent(arena)
        outcomes = play(arenas, chosen.turns, chosen.only, chosen.seconds, tell_outcome)
    return Results(
        taken=datetime.now(UTC).date().isoformat(),
        turns=chosen.turns,
        seconds=chosen.seconds,
        contestants=chosen.contestants,
        machine=facts.machine(),
        versions=_versions(arenas.values()) | versions,
        absent=_absent(arenas.values(), tls=False),
        without_tls=_absent(arenas.values(), tls=True),
        outcomes=tuple(outcomes),
    )


def _arena(name: str, folder: Path, ports: tuple[int, ...]) -> Arena:
    place = folder / name
    place.mkdir()
    if name in {PLAIN, HTTP}:
        return Arena(place, ports, http=name == HTTP)
    return Arena(place, ports, certificates.make(name, place))


def _wanted(arena: Arena, contestants: Sequence[str]) -> dict[str, Proxy]:
    able: Mapping[str, Proxy] = TERMINATORS if arena.tls else HTTP_PROXIES if arena.http else PROXIES
    return {key: able[key] for key in contestants if key in able}


def _absent(arenas: Iterable[Arena], *, tls: bool) -> dict[str, str]:
    return {who: why for arena in arenas if arena.tls is tls for who, why in arena.absent.items()}


def _versions(arenas: Iterable[Arena]) -> dict[str, str]:
    """Give the versions of those who ran, and what they do TLS with."""
    ran = {key: arena.tls for arena in arenas for key in arena.running if key != DIRECT}
    with_tls = {f"TLS in {TITLES[key]}:": TERMINATORS[key].tls_library() for key, tls in ran.items() if tls}
    return {key: PROXIES[key].version() for key in PROXIES if key in ran} | with_tls


def tell_absent(arena: Arena) -> None:
    """Say who is not there."""
    for key, why in arena.absent.items():
        what = "terminate TLS" if arena.tls else "take part"
        print(f"{TITLES[key]} does not {what}: {why}", flush=True)


def tell_outcome(outcome: Outcome) -> None:
    """Say how a turn went."""
    figures = [f"{report.number(value)} {METRICS[key].unit}" for key, value in outcome.figures.items()]
    what = f"turn {outcome.turn}  {outcome.measure:<18}{TITLES[outcome.contestant]:<14}"
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
