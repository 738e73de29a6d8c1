"""Subscriptions to what changes in a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen
from twisted.logger import Logger

from tcpbalance.pool.backend import Backend


@frozen
class PoolChange:
    """What has changed in a pool, all at once.

    :ivar added: backends that the pool did not have before.
    :ivar removed: backends that it has no longer; their open connections go on.
    :ivar changed: backends that stay and whose settings, health, ejection or admin state are others now.
    :ivar available: backends that may have new connections now, and might not before.
    """

    added: tuple[Backend, ...] = ()
    removed: tuple[Backend, ...] = ()
    changed: tuple[Backend, ...] = ()
    available: tuple[Backend, ...] = ()


OnChange: TypeAlias = Callable[[PoolChange], object]


class Subscribers:
    """The subscribers of one pool, called in the order in which they came.

    :param pool: the pool's name.
    """

    _log = Logger()

    def __init__(self, pool: str) -> None:
        self._pool = pool
        # A dict keeps the order, and a key of its own lets one callable come twice.
        self._subscribed: dict[object, OnChange] = {}

    def add(self, on_change: OnChange) -> Callable[[], None]:
        """Have a callable called with each change from now on.

        :returns: ends that; further calls do nothing.
        """
        key = object()
        self._subscribed[key] = on_change
        return lambda: self._subscribed.pop(key, None) and None

    def publish(self, change: PoolChange) -> None:
        """Call all of them; one that fails is logged, and keeps no other from its call."""
        for on_change in tuple(self._subscribed.values()):
            try:
                on_change(change)
            except Exception:
                self._log.failure("pool {pool}: a subscriber to its changes failed", pool=self._pool)
