"""Which client has set the state of a backend, and when."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any
from weakref import WeakKeyDictionary

from attrs import frozen

from tcpbalance.control.timestamps import timestamp
from tcpbalance.pool.backend import AdminState, Backend


@frozen
class _Order:
    """One order.

    :param time: in the form of timestamps.
    :param by: the address of the client of the admin side.
    """

    state: AdminState
    time: str
    by: str


class StateOrders:
    """The last order that each backend has had.

    :param wall_clock: seconds since the epoch.
    """

    def __init__(self, wall_clock: Callable[[], float] = time) -> None:
        self._wall_clock = wall_clock
        self._orders: WeakKeyDictionary[Backend, _Order] = WeakKeyDictionary()

    def note(self, backend: Backend, state: AdminState, by: str) -> None:
        """Take note of an order before it is carried out; one that changes nothing is none."""
        if state is not backend.admin_state:
            self._orders[backend] = _Order(state, timestamp(self._wall_clock()), by)

    def shown(self, backend: Backend) -> dict[str, Any] | None:
        """Give the order by which a backend has its state, for the API; None where the file or a program has
        set it."""
        order = self._orders.get(backend)
        if order is None or order.state is not backend.admin_state:
            return None
        return {"time": order.time, "by": order.by}
