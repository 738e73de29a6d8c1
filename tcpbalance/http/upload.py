"""The body of a request on its way to a backend."""

from __future__ import annotations

from typing import Protocol

from tcpbalance.http import carried_body
from tcpbalance.http.bodies import PassedBody, RunningBody
from tcpbalance.http.carried_body import CarriableBody
from tcpbalance.http.refusals import too_large

KEPT = 64 * 1024
"""Bytes of a body that are kept for a backend to come. While none is connected, the client is read no further
then; while one has not answered, the request will not be repeated."""

RATE_WINDOW = 30.0
"""Seconds over which the rate of a body is averaged."""


class BodyCopy(Protocol):
    """A copy of a body for another request."""

    def feed(self, data: bytes, whole: bool) -> None:
        """Take what goes on to the backend.

        :param whole: whether the body ends with it.
        """
        ...

    def cut(self) -> None:
        """Nothing more comes, whether or not the body is whole."""
        ...


class Upload(CarriableBody):
    """A body that comes from a client: what of it has come, and what is kept of it.

    :param body: reads it.
    :param awaits_continue: whether the client sends nothing before it has read 100.
    :param now: by the wheel's clock.
    :ivar kept: what a backend to come is to be given first.
    :ivar keeps: whether what comes is kept.
    :ivar awaits_continue: see above.
    """

    __slots__ = (
        "_body",
        "_copy",
        "_rated_at",
        "_rated_size",
        "_stops",
        "awaits_continue",
        "keeps",
        "kept",
    )

    def __init__(self, body: PassedBody, awaits_continue: bool, now: float) -> None:
        super().__init__(now)
        self._body = body
        self._copy: BodyCopy | None = None
        self.awaits_continue = awaits_continue
        # One piece: those that come may be tiny.
        self.kept = bytearray()
        self.keeps = True
        self._rated_at = now
        self._rated_size = self._stops = 0

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return self._body.size

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return self._body.whole

    def long_rest(self, limit: int | None) -> RunningBody | None:
        """Give the body where much of it comes next, and need not be kept or counted.

        :param limit: bytes that the body may have; None for any number.
        """
        body = self._body
        if self.keeps or self.is_carried or not isinstance(body, RunningBody):
            return None
        left = body.left
        is_long = left >= carried_body.LONG and (limit is None or body.size + left <= limit)
        return body if is_long else None

    @property
    def is_under_way(self) -> bool:
        """Whether some of it is not with the backend's kernel or transport yet."""
        return self.is_carried or not self._body.whole

    def feed(self, data: bytes, limit: int | None, now: float) -> tuple[bytes, bytes]:
        """Take bytes that the client has sent.

        :param limit: bytes that the body may have; None for any number.
        :returns: what goes on, and what came behind the body; while it is not whole, what is to be given
            again in a later turn.
        :raises BadRequest: it is no such body.
        :raises RequestRefused: it is too large.
        """
        self.active = now
        self.awaits_continue = False
        passed, rest = self._body.feed(data)
        self.check_size(limit)
        if self.keeps:
            self.kept += passed
        if self._copy is not None:
            self._copy.feed(passed, self._body.whole)
        return passed, rest

    def copy_to(self, copy: BodyCopy) -> None:
        """Give a copy what has come and what will come; to be called while all that has come is kept."""
        self._copy = copy
        copy.feed(bytes(self.kept), self._body.whole)

    def cut_copy(self) -> None:
        """Nothing more comes."""
        if self._copy is not None:
            self._copy.cut()

    def check_size(self, limit: int | None) -> None:
        """Refuse a body that is larger than it may be.

        :raises RequestRefused: see above.
        """
        if limit is not None and self._body.size > limit:
            raise too_large()

    @property
    def kept_size(self) -> int:
        """Bytes that are kept."""
        return len(self.kept)

    @property
    def is_full(self) -> bool:
        """Whether no more is to be kept."""
        return len(self.kept) >= KEPT

    def keep_no_more(self) -> None:
        """The request will not be repeated."""
        self.keeps = False
        self.kept.clear()

    def go_ahead(self, now: float) -> None:
        """The client has been sent 100."""
        self.awaits_continue = False
        self.active = self._rated_at = now

    @property
    def rate_due(self) -> float:
        """When its rate is looked at next, by the wheel's clock."""
        return self._rated_at + RATE_WINDOW

    def is_too_slow(self, min_rate: int, now: float, stops: int) -> bool:
        """Whether the body has come more slowly than it may, over the time since the last look.

        :param min_rate: bytes a second.
        :param stops: how often the client was paused: it cannot send faster than the backend takes it.
        """
        passed = now - self._rated_at
        if passed < RATE_WINDOW:
            return False
        came, was_free = self.size - self._rated_size, stops == self._stops
        self._rated_at, self._rated_size, self._stops = now, self.size, stops
        return was_free and came < min_rate * passed
