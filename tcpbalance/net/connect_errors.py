"""Why a backend could not be connected, in words for logs, and whether that says anything about it."""

from __future__ import annotations

import errno
import os

from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.net.errnos import OUT_OF_DESCRIPTORS
from tcpbalance.net.faults import REMEDY_OF_LOOKUP, fault_of_errno, fault_of_lookup, remedy_of_errno
from tcpbalance.net.resolver.answer import Verdict

_CAUSES = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timed out",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ENOENT: "no such socket",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "no local port free",
    errno.EAGAIN: "backlog full",
}


class ConnectFailed(TcpbalanceError):
    """A backend could not be connected; ``cause`` is the reason in a word or two, as logs show it.

    :param cause: why, for people.
    :param fault: ``BACKEND`` where it says something about the backend, and counts against it, and
        ``BALANCER`` where it does not.
    :param out_of_descriptors: it was this process that had no descriptor left: no other backend would do
        better.
    :param remedy: what the operator can do about it, empty where that is not known.
    :param is_late: nothing has answered in time.
    """

    def __init__(
        self,
        cause: str,
        fault: Fault = Fault.BACKEND,
        *,
        out_of_descriptors: bool = False,
        remedy: str = "",
        is_late: bool = False,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.fault = fault
        self.out_of_descriptors = out_of_descriptors
        self.remedy = remedy
        self.is_late = is_late

    @classmethod
    def from_errno(cls, code: int) -> ConnectFailed:
        """The failure that an error number of the system stands for."""
        return cls(
            _CAUSES.get(code) or os.strerror(code).lower(),
            fault_of_errno(code),
            out_of_descriptors=code in OUT_OF_DESCRIPTORS,
            remedy=remedy_of_errno(code),
            is_late=code == errno.ETIMEDOUT,
        )

    @classmethod
    def from_error(cls, error: OSError) -> ConnectFailed:
        """The failure that an error means; Python's own have words and no number."""
        return cls.from_errno(error.errno) if error.errno else cls(str(error), Fault.BALANCER)

    @classmethod
    def from_lookup(cls, verdict: Verdict) -> ConnectFailed:
        """The failure to reach a backend of which no address is known.

        :param verdict: why not.
        """
        return cls(
            verdict.value,
            fault_of_lookup(verdict),
            out_of_descriptors=verdict is Verdict.NO_DESCRIPTOR,
            remedy="" if verdict.is_empty else REMEDY_OF_LOOKUP,
            is_late=verdict is Verdict.TIMED_OUT,
        )


class AddressRefused(ConnectFailed):
    """There is no address among those of a name that may be dialled."""

    def __init__(self) -> None:
        super().__init__("no address that may be dialled", Fault.CLIENT)


def internal_error() -> ConnectFailed:
    """The failure of an attempt that an exception of our own has ended, which is logged."""
    return ConnectFailed("internal error", Fault.BALANCER)


def timed_out(seconds: float) -> str:
    """The cause of what took longer than it may."""
    return f"timed out after {seconds:g} s"
