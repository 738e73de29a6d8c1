"""The tables of ``tcpbalance status``; pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tcpbalance.cli.amounts import byte_rate_text, bytes_text, rate_text, time_text
from tcpbalance.cli.snapshots import Described, Rates, Snapshot, with_backends
from tcpbalance.cli.table import (
    BAD,
    GOOD,
    STRONG,
    WARNING,
    Cell,
    Column,
    Paint,
    plain_text,
    table_lines,
    wrapped_lines,
)
from tcpbalance.config.messages import one_line

STYLES = {"up": GOOD, "draining": WARNING, "maintenance": WARNING, "ejected": BAD, "down": BAD}
"""Of the states of a backend."""

_COUNTS = [
    Column("OPEN", right=True),
    Column("TOTAL", right=True, optional=5),
    Column("CONN/S", right=True, optional=3),
    Column("REQUESTS", right=True, optional=5),
    Column("REQ/S", right=True, optional=3),
    Column("5XX", right=True, optional=6),
    Column("IN/S", right=True, optional=2),
    Column("OUT/S", right=True, optional=1),
    Column("IN", right=True, optional=6),
    Column("OUT", right=True, optional=7),
]
_RATES = ("CONN/S", "REQ/S", "IN/S", "OUT/S")
_ALL_BYTES = ("IN", "OUT")
_OF_REQUESTS = ("REQUESTS", "REQ/S", "5XX")

_FRONTENDS = [
    Column("FRONTEND", shrinks_to=8),
    Column("LISTENS ON", shrinks_to=12),
    Column("POOLS", shrinks_to=6, optional=9),
    *_COUNTS,
    Column("REFUSED", right=True, optional=4),
]
_BACKENDS = [
    Column("POOL, BACKEND", shrinks_to=14),
    Column("ADDRESS", optional=8, shrinks_to=15),
    Column("STATE", shrinks_to=11),
    Column("WEIGHT", right=True, optional=9),
    *_COUNTS,
    Column("FAILED", right=True, optional=4),
]


def status_lines(
    now: Snapshot,
    before: Snapshot | None,
    where: str,
    width: int | None,
    paint: Paint = plain_text,
    *,
    with_rates: bool = False,
    wall_clock: Callable[[], float] = time.time,
) -> list[str]:
    """Draw everything.

    :param before: an earlier snapshot, for the rates.
    :param where: the admin side.
    :param width: of the tables; None for any.
    :param with_rates: whether rates are shown, and no bytes in all.
    """
    rates = Rates(now, before)
    has_requests = any(frontend.get("mode") == "http" for frontend in now.frontends)
    without = [*(_ALL_BYTES if with_rates else _RATES), *(() if has_requests else _OF_REQUESTS)]
    frontends = [_frontend_row(frontend, rates) for frontend in now.frontends]
    pools = [row for pool in now.pools for row in _pool_rows(pool, rates)]
    return [
        *_head(now.status, where, wall_clock(), width),
        *_refused_file(now.status["config"]["error"], width, paint),
        "",
        *_table(_FRONTENDS, frontends, without, width, paint),
        "",
        *_table(_BACKENDS, pools, without, width, paint),
    ]


def _table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    without: Sequence[str],
    width: int | None,
    paint: Paint,
) -> list[str]:
    places = [place for place, column in enumerate(columns) if column.title not in without]
    return table_lines(
        [columns[place] for place in places], [[row[place] for place in places] for row in rows], width, paint
    )


def _head(status: Mapping[str, Any], where: str, now: float, width: int | None) -> list[str]:
    """Say what the program is, as many facts on a line as fit."""
    processes = status["processes"]
    serving = [process for process in processes if "supervisor" not in process]
    unit = "worker" if any("worker" in process for process in serving) else "process"
    plural = "" if len(serving) == 1 else "s" if unit == "worker" else "es"
    facts = [
        f"tcpbalance {status['version']}",
        f"up {time_text(now - status['started'])}",
        f"{len(serving)} {unit}{plural}",
        f"{bytes_text(sum(process['memory'] for process in processes))} of memory",
        f"{sum(process['descriptors'] for process in processes)} descriptors",
        f"at {where}",
    ]
    lines = [""]
    for fact in (one_line(fact) for fact in facts):
        longer = f"{lines[-1]}, {fact}" if lines[-1] else fact
        if width is not None and len(longer) >= width and lines[-1]:
            lines[-1] += ","
            lines.append(fact)
        else:
            lines[-1] = longer
    return wrapped_lines(lines, width)


def _refused_file(error: Mapping[str, Any] | None, width: int | None, paint: Paint) -> list[str]:
    """Say that the configuration file has changed and cannot be used."""
    if error is None:
        return []
    first, *_ = error["message"].splitlines()
    text = one_line(f"the configuration file was changed and cannot be used: {first}")
    return [paint(line, BAD) for line in wrapped_lines([text], width)]


def _frontend_row(frontend: Described, rates: Rates) -> list[Cell]:
    counters = frontend["counters"]
    refused = sum(count for name, count in counters.items() if name.startswith("refused."))
    return [
        Cell(frontend["name"], STRONG),
        Cell(", ".join(frontend["listen"])),
        Cell(", ".join(frontend["pools"])),
        *_counts(("frontend", frontend["name"]), counters, rates),
        Cell(str(refused)),
    ]


def _pool_rows(pool: Described, rates: Rates) -> list[list[Cell]]:
    backends = pool["backends"]
    counters = with_backends(pool)
    rows = [
        [
            Cell(pool["name"], STRONG),
            Cell(""),
            _pool_state(pool),
            Cell(""),
            *_counts(("pool", pool["name"]), counters, rates),
            Cell(str(counters.get("connect_failures", 0))),
        ]
    ]
    rows += [_backend_row(pool["name"], backend, rates) for backend in backends]
    return rows


def _pool_state(pool: Described) -> Cell:
    states = [backend["state"] for backend in pool["backends"]]
    up = states.count("up")
    queued = pool["counters"].get("queue_active", 0)
    text = f"{up} of {len(states)} up" + (f", {queued} queued" if queued else "")
    return Cell(text, "" if up == len(states) else WARNING if up else BAD)


def _backend_row(pool: str, backend: Described, rates: Rates) -> list[Cell]:
    counters, name, address = backend["counters"], backend["name"], backend["address"]
    limit = backend["max_connections"]
    return [
        Cell(f"  {name}"),
        Cell("" if name == address else address),
        Cell(state_text(backend), STYLES.get(backend["state"], "")),
        Cell(f"{backend['weight']}{' backup' if backend['backup'] else ''}"),
        *_counts(("backend", pool, name), counters, rates, limit),
        Cell(str(counters.get("connect_failures", 0))),
    ]


def state_text(backend: Described) -> str:
    """Word the state of a backend: why it is down, or how long the sessions may go on of one that drains."""
    state, left = str(backend["state"]), backend.get("drain_deadline")
    if state == "down":
        return f"{state}: {backend['cause']}"
    return state if left is None else f"{state}, {time_text(left)} left"


def _counts(
    key: tuple[str, ...], counters: Mapping[str, int], rates: Rates, limit: int | None = None
) -> list[Cell]:
    """Fill the columns of ``_COUNTS``."""
    active = str(counters.get("connections_active", 0))
    return [
        Cell(active if limit is None else f"{active}/{limit}"),
        Cell(str(counters.get("connections_total", 0))),
        Cell(rate_text(rates.of(key, counters, "connections_total"))),
        Cell(str(counters.get("requests_total", 0))),
        Cell(rate_text(rates.of(key, counters, "requests_total"))),
        Cell(str(counters.get("responses.5xx", 0))),
        Cell(byte_rate_text(rates.of(key, counters, "bytes_in"))),
        Cell(byte_rate_text(rates.of(key, counters, "bytes_out"))),
        Cell(bytes_text(counters.get("bytes_in", 0))),
        Cell(bytes_text(counters.get("bytes_out", 0))),
    ]
