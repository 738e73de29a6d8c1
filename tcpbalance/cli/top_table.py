"""The table of ``tcpbalance top``: its rows, their order, and which of them are shown; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tcpbalance.cli.amounts import rate_text
from tcpbalance.cli.snapshots import Described, Rates, Snapshot
from tcpbalance.cli.status_table import STYLES, state_text
from tcpbalance.cli.table import BAD, Cell, Column
from tcpbalance.stats import CONNECT_BOUNDS

WINDOW: Final = 5.0
"""Seconds over which rates and connect times are measured."""

COLUMNS: Final = (
    Column("POOL", shrinks_to=4),
    Column("BACKEND", shrinks_to=8),
    Column("STATE", shrinks_to=8),
    Column("WEIGHT", right=True, optional=4),
    Column("OPEN", right=True),
    Column("CONN/S", right=True, optional=1),
    Column("ERRORS", right=True, optional=2),
    Column("MEDIAN", right=True, optional=3),
    Column("QUEUE", right=True, optional=5),
)
_POOL, _BACKEND, _STATE, _WEIGHT, _OPEN, _RATE, _ERRORS, _MEDIAN, _QUEUE = range(len(COLUMNS))

_WORST_FIRST = ("down", "ejected", "maintenance", "draining", "up")

_PREFIX = "connect_time."


class TopRow(NamedTuple):
    """One backend.

    :ivar state_text: with what more there is to say of it.
    :ivar limit: of the open connections; None for none.
    :ivar rate: connections a second; None where that is not known yet.
    :ivar errors: connections that have failed.
    :ivar median: of what connecting took lately, in seconds; None where there was none.
    :ivar queue: connections that wait for any backend of the pool.
    """

    pool: str
    name: str
    state: str
    state_text: str
    weight: int
    backup: bool
    open: int
    limit: int | None
    rate: float | None
    errors: int
    median: float | None
    queue: int

    @property
    def full_name(self) -> str:
        """Name it with its pool."""
        return f"{self.pool}/{self.name}"

    def cells(self) -> list[Cell]:
        """Give its cell in each of the columns."""
        style = STYLES.get(self.state, "")
        return [
            Cell(self.pool),
            Cell(self.name),
            Cell(self.state_text, style),
            Cell(f"{self.weight}{' backup' if self.backup else ''}"),
            Cell(str(self.open) if self.limit is None else f"{self.open}/{self.limit}"),
            Cell(rate_text(self.rate)),
            Cell(str(self.errors), BAD if self.errors else ""),
            Cell(_time_text(self.median)),
            Cell(str(self.queue)),
        ]

    def order(self, place: int) -> Any:
        """Give by what it is sorted in a column; what is not known counts as the least."""
        by_place: Mapping[int, Any] = {
            _POOL: self.pool,
            _BACKEND: self.name,
            _STATE: _WORST_FIRST.index(self.state) if self.state in _WORST_FIRST else -1,
            _WEIGHT: self.weight,
            _OPEN: self.open,
            _RATE: -1.0 if self.rate is None else self.rate,
            _ERRORS: self.errors,
            _MEDIAN: -1.0 if self.median is None else self.median,
            _QUEUE: self.queue,
        }
        return by_place[place]


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"


def median_connect_time(now: Mapping[str, int], before: Mapping[str, int] | None) -> float | None:
    """Estimate the median of what connecting took between two looks, from counts by bounds.

    :param before: None where there was no look.
    :returns: seconds; None where nothing has connected, or the counters have begun anew.
    """
    if before is None:
        return None
    counts = {
        float(name.removeprefix(_PREFIX)): count - before.get(name, 0)
        for name, count in now.items()
        if name.startswith(_PREFIX)
    }
    left = sum(counts.values()) / 2
    if left <= 0 or min(counts.values()) < 0:
        return None
    for bound in sorted(counts):
        if left <= counts[bound]:
            place = bisect_left(CONNECT_BOUNDS, bound)
            lower = CONNECT_BOUNDS[place - 1] if place else 0.0
            # Within its bounds, as if they were spread evenly; above the last one, nothing more is known.
            return lower if place >= len(CONNECT_BOUNDS) else lower + (bound - lower) * left / counts[bound]
        left -= counts[bound]
    return None


class TopTable:
    """What has been seen lately, and how it is to be shown.

    :ivar sorted_by: the place of a column; None for the order of the configuration.
    :ivar inverted: whether the order is turned around.
    :ivar filter: a text that the name or the state of what is shown has in it.
    :ivar is_read_only: whether the token may change nothing.
    """

    def __init__(self) -> None:
        self.sorted_by: int | None = None
        self.inverted = False
        self.filter = ""
        self.is_read_only = False
        self._looks: deque[Snapshot] = deque()
        self._rows: list[TopRow] = []

    def add(self, now: Snapshot) -> None:
        """Take note of a look.

        :raises CommandError: it is not what an admin side answers.
        """
        while len(self._looks) > 1 and self._looks[0].at < now.at - WINDOW:
            self._looks.popleft()
        before = self._looks[0] if self._looks else None
        self._rows = _rows(now, before)
        self.is_read_only = now.status.get("access") == "read_only"
        self._looks.append(now)

    def sort_by(self, place: int | None) -> None:
        """Sort by a column, numbers from the greatest on; by the same column again: the other way round."""
        self.inverted = not self.inverted if place == self.sorted_by else False
        self.sorted_by = place

    def rows(self) -> list[TopRow]:
        """Give what is to be shown, in its order."""
        wanted = self.filter.lower()
        found = [row for row in self._rows if wanted in f"{row.full_name} {row.state}".lower()]
        if self.sorted_by is None:
            return found[::-1] if self.inverted else found
        place = self.sorted_by
        downward = COLUMNS[place].right != self.inverted
        return sorted(found, key=lambda row: row.order(place), reverse=downward)

    def titles(self) -> list[Cell]:
        """Give the titles of the columns, with the order."""
        titles = [column.title for column in COLUMNS]
        if self.sorted_by is not None:
            downward = COLUMNS[self.sorted_by].right != self.inverted
            titles[self.sorted_by] += "▼" if downward else "▲"
        return [Cell(title) for title in titles]

    def summary(self) -> str:
        """Sum it up, whatever is shown of it."""
        up = sum(row.state == "up" for row in self._rows)
        rates = [row.rate for row in self._rows if row.rate is not None]
        opened = sum(row.open for row in self._rows)
        rate = rate_text(sum(rates) if rates else None)
        return f"{up} of {len(self._rows)} up, {opened} open, {rate} conn/s"


def _rows(now: Snapshot, before: Snapshot | None) -> list[TopRow]:
    rates = Rates(now, before)
    return [_row(pool, backend, rates) for pool in now.pools for backend in pool["backends"]]


def _row(pool: Described, backend: Described, rates: Rates) -> TopRow:
    counters, key = backend["counters"], ("backend", pool["name"], backend["name"])
    return TopRow(
        pool=pool["name"],
        name=backend["name"],
        state=backend["state"],
        state_text=state_text(backend),
        weight=backend["weight"],
        backup=backend["backup"],
        open=counters.get("connections_active", 0),
        limit=backend["max_connections"],
        rate=rates.of(key, counters, "connections_total"),
        errors=counters.get("connect_failures", 0),
        median=median_connect_time(counters, rates.before(key)),
        queue=pool["counters"].get("queue_active", 0),
    )
