"""The base of every error of ours: what happened, and whose fault it is."""

from __future__ import annotations

import copyreg
import enum


class Fault(enum.Enum):
    """The side that can remove the cause of an error."""

    CLIENT = "client"
    BACKEND = "backend"
    CONFIGURATION = "configuration"
    BALANCER = "balancer"


class TcpbalanceError(Exception):
    """An error that tcpbalance raises; its text says what happened, where, and what to do.

    :cvar fault: the side that can remove its cause.
    """

    fault: Fault = Fault.BALANCER

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle what it has become, not what it was made of, which may be more than its text."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # not in typeshed


class SettingError(TcpbalanceError, ValueError):
    """A part was given a value that it cannot work with."""

    fault = Fault.CONFIGURATION
