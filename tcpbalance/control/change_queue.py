"""The changes of the configuration that clients of the admin side ask for, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail

from tcpbalance.control.api_request import ApiError

MAX_WAITING_CHANGES = 20
"""Changes that wait for the one that is being made: with thousands of backends, each takes half a second."""


class ChangeQueue:
    """Makes changes in the order in which they come, and refuses them where too many wait."""

    def __init__(self) -> None:
        self._lock = DeferredLock()

    def run(self, make: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Make a change when its turn has come.

        :param make: is called then.
        :returns: what it gives; or fails with ApiError.
        """
        if len(self._lock.waiting) >= MAX_WAITING_CHANGES:
            busy = f"{MAX_WAITING_CHANGES} changes of the configuration wait already: ask again"
            return fail(ApiError(503, "too_many_changes", busy))
        made: Deferred[Any] = self._lock.run(make)
        return made
