"""What is to be sent to another process, one message at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall

Content = Mapping[str, Any]


class PacedMessages:
    """Sends a message once the one before was taken.

    So one message at most waits for a process that takes none, and what changes meanwhile is kept where it
    comes together, in what *take* makes the next message of.

    :param reactor: IReactorTime; what is asked for in one turn of it goes in one message.
    :param send: sends a message.
    :param take: gives the next one, None where there is nothing to be sent.
    """

    def __init__(
        self, reactor: Any, send: Callable[[Content], object], take: Callable[[], Content | None]
    ) -> None:
        self._reactor = reactor
        self._send = send
        self._take = take
        self._under_way = 0
        self._soon: IDelayedCall | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all that was sent was taken, and nothing is about to be sent."""
        return not self._under_way and self._soon is None

    def wake(self) -> None:
        """Take note that there is something to be sent: it goes in the reactor's next turn."""
        if self.is_idle:
            self._soon = self._reactor.callLater(0, self.send_now)

    def taken(self) -> None:
        """Take note that the other process has taken a message."""
        self._under_way = max(0, self._under_way - 1)
        self.send_now()

    def send_now(self) -> None:
        """Send what there is, unless a message is under way: then it goes when that is taken."""
        self._cancel()
        content = None if self._under_way else self._take()
        if content is not None:
            self._under_way += 1
            self._send(content)

    def send_all(self) -> None:
        """Send all that there is now, and not only one message of it."""
        while (content := self._take()) is not None:
            self._under_way += 1
            self._send(content)

    def close(self) -> None:
        """Send nothing any more."""
        self._cancel()
        self._take = lambda: None

    def _cancel(self) -> None:
        if self._soon is not None:
            if self._soon.active():
                self._soon.cancel()
            self._soon = None
