"""Why a place has no worker that serves: reported once, and then now and then as long as it goes on."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

REMINDED_EVERY = 60.0
"""Seconds between two lines about the same reason."""


class Troubles:
    """Reports what is wrong with the workers of one place.

    :param place: its number.
    :param clock: seconds on a monotonic clock.
    """

    _log = Logger()

    def __init__(self, place: int, clock: Callable[[], float]) -> None:
        self._place = place
        self._clock = clock
        self._reason: str | None = None
        self._next = 0.0

    def report(self, reason: str, text: str = "", *, serves: bool) -> None:
        """Report why a worker does not serve.

        :param reason: the same one is not reported again at each attempt.
        :param text: says it in a line of its own; absent: made of the reason.
        :param serves: whether another worker of the place does, so that no client waits.
        """
        text = text or f"worker {self._place}: {reason}"
        if serves:
            self._log.error("{text}", text=text)
            return
        now = self._clock()
        if reason == self._reason:
            if now < self._next:
                return
            text = f"worker {self._place} does not serve yet: {reason}"
        self._reason, self._next = reason, now + REMINDED_EVERY
        self._log.error("{text}; its clients wait, and it is tried again", text=text)

    def are_over(self) -> None:
        """A worker has served for a while: what comes now is reported again."""
        self._reason = None
