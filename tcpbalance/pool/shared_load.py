"""What pools of one name in several processes know of each other; with one process, none of this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tcpbalance.errors import TcpbalanceError


class NoCapacityError(TcpbalanceError):
    """Another process was quicker: the backend has as many connections as it may by now."""


class BackendLoad(Protocol):
    """The connections that all processes together have to one backend."""

    @property
    def total(self) -> int:
        """How many there are."""
        ...

    @property
    def full(self) -> bool:
        """Whether there may be no other one now, or those that wait in any process come first."""
        ...

    def add(self) -> bool:
        """Count one more of this process, unless there are as many as there may be.

        :returns: whether it was counted.
        """
        ...

    def remove(self) -> None:
        """Count one less, and have what waits for that look, here or in another process."""
        ...


class WaitsHere(Protocol):
    """The queue of a pool in this process."""

    def has_capacity(self) -> bool:
        """Whether a backend may have another connection."""
        ...

    def serve_one(self) -> bool:
        """Give its turn to one waiter, if there is capacity for one.

        :returns: whether there was.
        """
        ...


class PoolLoad(Protocol):
    """What a pool has in common with those of its name in other processes.

    :ivar first_turn: the part of a round after which round robin begins here, from 0 up to 1: the processes
        do not all begin with the same backend.
    :ivar serving: whether a waiter of this process has its turn at this moment; backends are not full for it
        because others wait.
    """

    first_turn: float
    serving: bool

    @property
    def processes(self) -> int:
        """How many processes there are, at least 1."""
        ...

    def load_of(self, name: str, address: str, active: int) -> BackendLoad | None:
        """Give what is counted of a backend.

        :param active: connections that this process has to it.
        :returns: the same object each time; None where nothing is counted.
        """
        ...

    def follow(self, on_change: Callable[[], None]) -> None:
        """Have a method called when `load_of` may give others, for as long as its object is in use."""
        ...

    def wait_here(self, waits: WaitsHere) -> None:
        """Look at this queue from now on when something is given back."""
        ...

    def lines_wait(self, lines: int, able: bool) -> None:
        """Say how many clients wait in the queue of this process, after each change.

        :param able: whether one of them may be able to use what is free: not where all wait for certain
            backends, which are full. Clients that have just come wait behind those that are.
        """
        ...
