"""How messages name the backends of a pool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

MAX_PART = 24 * 1024
"""Bytes of which the longest part of a message may be made, so that all of it is short enough."""


def encoded_size(value: object) -> int:
    """Give how many bytes a value is in a message."""
    return len(json.dumps(value))


class BackendTable:
    """The backends of one pool by name and address, which are the same in all processes.

    :param pool: whose backends they are, whatever its list comes to be.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._of: tuple[Backend, ...] | None = None
        self._by_key: dict[tuple[str, str], Backend] = {}
        self._numbers: dict[Backend, int] = {}

    @property
    def numbers(self) -> Mapping[Backend, int]:
        """Give each backend its place in the pool's list."""
        self._follow()
        return self._numbers

    def get(self, key: Iterable[str]) -> Backend | None:
        """Find a backend.

        :param key: as `key_of` gives it.
        """
        self._follow()
        return self._by_key.get(tuple(key))  # type: ignore[arg-type]  # any other is not there

    def _follow(self) -> None:
        backends = self.pool.backends
        if backends is not self._of:
            self._of = backends
            self._by_key = {tuple(key_of(backend)): backend for backend in backends}  # type: ignore[misc]
            self._numbers = {backend: number for number, backend in enumerate(backends)}


def key_of(backend: Backend) -> list[str]:
    """Give what a message calls a backend: its name and its address."""
    return [backend.name, str(backend.address)]


def first_that_fit(parts: Iterable[Any], limit: int = MAX_PART) -> list[Any]:
    """Give as many parts of a message as are short enough together, and one in any case."""
    taken: list[Any] = []
    size = 0
    for part in parts:
        size += encoded_size(part)
        if taken and size > limit:
            break
        taken.append(part)
    return taken
