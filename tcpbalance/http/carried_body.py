"""A body, or a chunk of one, that the kernel carries past the request that it belongs to."""

from __future__ import annotations

from collections.abc import Callable

from tcpbalance.http.bodies import RunningBody
from tcpbalance.net.bounded_pump import BoundedPump
from tcpbalance.net.transport import Transport
from tcpbalance.net.wheel import Wheel

LONG = 256 * 1024
"""Bytes of a body or of one chunk still to come from which on it pays to let the kernel carry them."""


class CarriedBody:
    """What is left of a body, or of one chunk, on its way from one transport to another.

    :param body: takes note of what has been carried.
    :ivar active: when the last bytes were carried, by the wheel's clock.
    """

    __slots__ = ("_body", "_counted", "_pump", "_sink")

    _pump: BoundedPump | None

    def __init__(self, body: RunningBody) -> None:
        self._body = body
        self._counted = 0
        self._pump = None
        self._sink: Transport | None = None

    def start(self, source: Transport, sink: Transport, wheel: Wheel, on_done: Callable[[], None]) -> bool:
        """Begin.

        :param on_done: called once all of it is out.
        :returns: False where the bytes have to be passed on one by one.
        """
        self._sink = sink
        self._pump = source.pump_to(sink, self._body.left, wheel, on_done)
        return self._pump is not None

    @property
    def active(self) -> float:
        """When the last bytes were carried, by the wheel's clock."""
        assert self._pump is not None
        return self._pump.active

    @property
    def waits(self) -> bool:
        """Whether the side that it goes to takes no more."""
        return self._sink is not None and self._sink.full

    def count(self) -> int:
        """Give how many bytes were carried since the last call."""
        assert self._pump is not None
        carried, self._counted = self._pump.carried - self._counted, self._pump.carried
        self._body.passed(carried)
        return carried

    def stop(self) -> None:
        """Carry nothing more; what is under way is lost."""
        assert self._pump is not None
        self._pump.stop()


class CarriableBody:
    """What passes on a body that the kernel may carry.

    :ivar active: when the last bytes of the body came, by the wheel's clock.
    """

    __slots__ = ("_carried", "active")

    def __init__(self, now: float) -> None:
        self._carried: CarriedBody | None = None
        self.active = now

    @property
    def is_carried(self) -> bool:
        """Whether the kernel carries it."""
        return self._carried is not None

    @property
    def waits(self) -> bool:
        """Whether the side that it goes to takes no more of what the kernel carries."""
        return self._carried is not None and self._carried.waits

    def carry(
        self, body: RunningBody, source: Transport, sink: Transport, wheel: Wheel, on_done: Callable[[], None]
    ) -> None:
        """Let the kernel carry what is left of it, or of its chunk, if it can.

        :param on_done: called once all of it is out.
        """
        announced = body.announce()
        if announced:
            sink.write(announced)
            if sink.full:
                return
        carried = CarriedBody(body)
        if carried.start(source, sink, wheel, on_done):
            self._carried = carried

    def count_carried(self) -> int:
        """Give how many bytes the kernel has carried since the last call."""
        if self._carried is None:
            return 0
        count = self._carried.count()
        if count:
            self.active = self._carried.active
        return count

    def carry_no_more(self) -> None:
        """Have what follows read here again; what the kernel has under way is lost."""
        if self._carried is not None:
            self._carried.stop()
            self._carried = None
