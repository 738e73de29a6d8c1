"""The changes of the configuration that clients of the admin side ask for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, inlineCallbacks

from tcpbalance.control.api_request import ApiError
from tcpbalance.control.config_orders import ChangeConfig

MAX_WAITING_CHANGES = 20
"""Changes that wait for the one that is being made: with thousands of backends, each takes half a second."""


Order = Callable[[], AbstractContextManager[None]]
"""Holds while a change is made, see ``Events.ordered_by``."""


class ChangeQueue:
    """Makes changes in the order in which they come, and refuses them where too many wait."""

    def __init__(self) -> None:
        self._lock = DeferredLock()

    def run(
        self, order: Order, make: Callable[[ChangeConfig], Deferred[Any]], change: ChangeConfig
    ) -> Deferred[Any]:
        """Make a change when its turn has come.

        :param order: see above.
        :param make: is called with the change then.
        :returns: what it gives; or fails with ApiError.
        """
        if len(self._lock.waiting) >= MAX_WAITING_CHANGES:
            busy = f"{MAX_WAITING_CHANGES} changes of the configuration wait already: ask again"
            return fail(ApiError(503, "too_many_changes", busy))
        made: Deferred[Any] = self._lock.run(self._make, order, make, change)
        return made

    @inlineCallbacks
    def _make(
        self, order: Order, make: Callable[[ChangeConfig], Deferred[Any]], change: ChangeConfig
    ) -> Generator[Deferred[Any], Any, Any]:
        with order():
            made = yield make(change)
        return made
