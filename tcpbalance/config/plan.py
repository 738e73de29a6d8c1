"""A difference between two configurations in words, and as plain values for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from tcpbalance.config.addresses import Address
from tcpbalance.config.difference import Difference, KeyChange
from tcpbalance.config.errors import key_text
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.messages import value_text
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.shown import keys_without_secrets

MAX_LISTED = 5
"""Elements of a list that a line shows; the others are counted."""


def plan_lines(difference: Difference) -> Iterator[str]:
    """Word a difference for an operator: a line for each change, then a summary."""
    for part, table in difference.added.items():
        yield f"+ {key_text(part)}{_where(table)}"
    for part, table in difference.removed.items():
        yield f"- {key_text(part)}{_where(table)}{_end(table)}"
    for change in difference.changed:
        old, new = change.shown
        yield f"~ {key_text(change.path)}: {_text(old)} -> {_text(new)} ({_meaning(change)})"
    yield "; ".join(_summary(difference)) or "no change"


def _where(table: Any) -> str:
    if isinstance(table, FrontendConfig):
        return f": listens on {', '.join(map(str, table.listen))}"
    return f": {table.address}" if isinstance(table, BackendConfig) else ""


def _end(table: Any) -> str:
    if isinstance(table, FrontendConfig):
        return "; open sessions finish"
    return "; drains" if isinstance(table, BackendConfig) else ""


def _meaning(change: KeyChange) -> str:
    moves = isinstance(change.old, Address)
    return change.effect.value + ("; the backend at the old address drains" if moves else "")


def _text(value: object) -> str:
    """Word a value as the operator writes it, within a bound."""
    if value is None:
        return "absent"
    if isinstance(value, tuple | list):
        shown = [_text(element) for element in value[:MAX_LISTED]]
        more = [f"{len(value) - MAX_LISTED} more"] if len(value) > MAX_LISTED else []
        return f"[{', '.join(shown + more)}]"
    return value_text(as_plain(value))


def _summary(difference: Difference) -> Iterator[str]:
    if difference.added:
        yield f"begins: {_counts(difference.added.values())}"
    if difference.removed:
        yield f"ends: {_counts(difference.removed.values())}"
    if difference.draining:
        yield f"drains: {_count(len(difference.draining), 'backend')}"
    if difference.changed:
        yield f"changes: {_count(len(difference.changed), 'key')}"
    if difference.opened or difference.closed:
        yield f"listeners: {len(difference.opened)} opened, {len(difference.closed)} closed"
    if difference.needing_restart:
        yield f"needs a restart: {_count(len(difference.needing_restart), 'key')}"


def _counts(tables: Iterable[Any]) -> str:
    kinds = {FrontendConfig: "frontend", PoolConfig: "pool", BackendConfig: "backend"}
    counts = {word: sum(type(table) is kind for table in tables) for kind, word in kinds.items()}
    return ", ".join(_count(count, word) for word, count in counts.items() if count)


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def as_plain(value: object) -> Any:
    """Give what JSON has for a value: as the operator writes it, a table as an object of its keys; what may
    be secret is left out."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, tuple | list):
        return [as_plain(element) for element in value]
    if isinstance(value, Mapping):
        return {str(name): as_plain(element) for name, element in value.items()}
    kind = type(value)
    # A value type may be an attrs class, too, and is written as one word.
    if attrs.has(kind) and not hasattr(kind, "parse"):
        return {name: as_plain(key) for name, key in keys_without_secrets(value).items()}
    return str(value)


def plan_document(difference: Difference) -> dict[str, Any]:
    """Give a difference as plain values; a change of the words of `plan_lines` leaves it as it is."""
    return {
        "added": {key_text(part): as_plain(table) for part, table in difference.added.items()},
        "removed": {key_text(part): as_plain(table) for part, table in difference.removed.items()},
        "changed": [
            {
                "key": key_text(change.path),
                "old": as_plain(change.shown[0]),
                "new": as_plain(change.shown[1]),
                "effect": change.effect.value,
            }
            for change in difference.changed
        ],
        "draining": [key_text(part) for part in difference.draining],
        "listeners_opened": [str(address) for address in difference.opened],
        "listeners_closed": [str(address) for address in difference.closed],
        "needs_restart": [key_text(change.path) for change in difference.needing_restart],
    }
