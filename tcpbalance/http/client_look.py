"""Whether a client takes a response that waits for it."""

from __future__ import annotations

import typing


class ClientLook(typing.NamedTuple):
    """What is known of a client at a time.

    :ivar at: that time, by the frontend's clock.
    :ivar in_flight: bytes on their way to it, which it has not taken.
    :ivar passed: bytes that were put on this way so far.
    """

    at: float
    in_flight: int
    passed: int

    def shows_too_slow(self, before: ClientLook, min_rate: int) -> bool:
        """Whether the client has taken too little since another look, though there was enough for it.

        :param min_rate: bytes a second.
        """
        took = self.passed - before.passed + before.in_flight - self.in_flight
        if before.in_flight > 0 and self.passed == before.passed and took <= 0:
            return True
        return took < min_rate * (self.at - before.at) <= before.in_flight
