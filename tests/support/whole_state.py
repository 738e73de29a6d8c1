"""All that can be found in the attributes of objects of ours, to see whether anything has changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from random import Random
from typing import Any

_PLAIN = (int, float, str, bytes, type(None), Enum)


def state_of(*roots: object) -> list[tuple[str, object]]:
    """Give the path of each value that is reached from some objects, and the value."""
    known: dict[int, object] = {}
    found: list[tuple[str, object]] = []
    for number, root in enumerate(roots):
        _walk(root, str(number), known, found)
    return found


def _walk(value: Any, path: str, known: dict[int, object], found: list[tuple[str, object]]) -> None:
    if isinstance(value, _PLAIN):
        found.append((path, value))
    elif id(value) in known:
        found.append((path, f"the same {type(value).__name__}"))
    else:
        known[id(value)] = value  # Kept, so that no other object gets its number.
        found.append((path, type(value).__name__))
        for name, part in _parts(value):
            _walk(part, f"{path}.{name}", known, found)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Random):
        yield "state", hash(value.getstate())
    elif isinstance(value, Mapping):
        yield from _enumerated([*value.keys(), *value.values()])
    elif isinstance(value, set | frozenset | list | tuple | deque):
        # Sets of our own objects are in the order of where these are in memory, which stays.
        yield from _enumerated(value)
    elif type(value).__module__.partition(".")[0] == "tcpbalance":
        yield from ((name, getattr(value, name)) for name in _names(value) if hasattr(value, name))


def _enumerated(values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(number), value) for number, value in enumerate(values))


def _names(value: object) -> list[str]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*dict.fromkeys([*slots, *getattr(value, "__dict__", ())])]
