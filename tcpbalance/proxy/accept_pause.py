"""Shuts the doors of a frontend, the listening sockets, for as long as anybody has a reason to."""

from __future__ import annotations

from typing import Protocol


class Acceptor(Protocol):
    """What accepts clients and can be told to wait: a listening port, ours or one of Twisted's."""

    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


class AcceptPause:
    """Doors that are paused while at least one reason stands, so that no reason undoes another.

    Those who come meanwhile wait in the kernel's backlog.
    """

    __slots__ = ("_frontend_listeners", "_reasons")

    def __init__(self) -> None:
        self._frontend_listeners: list[Acceptor] = []
        self._reasons: set[str] = set()

    def pause_on(self, door: Acceptor) -> None:
        """Take care of one more door, which is paused at once where the others are."""
        self._frontend_listeners.append(door)
        if self._reasons:
            door.pauseProducing()

    def leave(self, door: Acceptor) -> None:
        """Attend to a door no more that has been closed."""
        self._frontend_listeners.remove(door)

    def pause(self, reason: str) -> None:
        """Accept nobody until this reason is withdrawn, and all others are; once more changes nothing."""
        if not self._reasons:
            for door in self._frontend_listeners:
                door.pauseProducing()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        """Withdraw a reason; one that does not stand changes nothing."""
        if reason not in self._reasons:
            return
        self._reasons.remove(reason)
        if not self._reasons:
            for door in self._frontend_listeners:
                door.resumeProducing()
