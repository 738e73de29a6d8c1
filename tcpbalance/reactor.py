"""What tcpbalance needs of the reactor that an application hands to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timers(Protocol):
    """What ``IReactorTime`` has, for type checkers that do not know what implements an interface."""

    def seconds(self) -> float:
        """Give the reactor's time, in seconds."""
        ...

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 - Twisted's name
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        """Call something after *delay* seconds."""
        ...


Reactor: TypeAlias = IReactorTime | Timers
"""What is always needed of a reactor: the time, as ``task.Clock`` has it, too.

What else it must provide depends on what is used: IReactorFDSet for sockets; IReactorFromThreads for host
names, files that are read again, affinity in a file and an access log; IReactorProcess for ``command``
checks; and what an endpoint asks for.
"""
