"""Probes by name, from the entry points of every installed distribution; ours are among them."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import attrs

from tcpbalance.pool.extensions import installed

PROBES = "tcpbalance.probes"


def probes() -> dict[str, type]:
    """Load every health probe there is, by the name that `check` gives it.

    One that cannot be loaded, or is no attrs class, from which its keys are read, is logged and left out.
    """
    return dict(installed(PROBES, _require_attrs))


def _require_attrs(entry: EntryPoint, thing: Any) -> None:
    if not attrs.has(thing):
        raise TypeError(f"{entry.value} must be an attrs class, got {thing!r}")
