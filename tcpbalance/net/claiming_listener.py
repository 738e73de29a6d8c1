"""A listener that asks before it accepts: for a limit that several processes keep together."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from tcpbalance.net.listener import Listener


class Places(Protocol):
    """What has a place for each client that may be accepted."""

    def claim(self) -> bool:
        """Claim one, which is kept until a client has it, or it is given up.

        :returns: False where there is none; the listener has been paused then.
        """
        ...

    def give_up_claim(self) -> None:
        """Give up the one that was claimed, if no client has it."""
        ...


class ClaimingListener(Listener):
    """Accepts a client only where there is a place for it.

    :param places: claimed one by one.
    """

    def __init__(self, places: Places, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self._places = places
        self._accept_unasked = self._accept
        self._accept = self._claim_and_accept

    def _claim_and_accept(self) -> tuple[int, Any]:
        if not self._places.claim():
            raise BlockingIOError
        return self._accept_unasked()

    def _accept_at(self, sock: socket.socket) -> tuple[int, Any]:
        if not self._places.claim():
            raise BlockingIOError
        return super()._accept_at(sock)

    def accept_from(self, sock: socket.socket) -> None:
        """See ``Listener``."""
        try:
            super().accept_from(sock)
        finally:
            self._places.give_up_claim()

    def accept_some(self) -> None:
        """See ``Listener``."""
        try:
            super().accept_some()
        finally:
            self._places.give_up_claim()
