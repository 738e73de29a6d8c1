"""Pauses accepting at the listening ports of a frontend, for as long as there is a reason to."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from tcpbalance.config.loops import WILDCARDS


class Acceptor(Protocol):
    """A listening port that can be paused: ours or one of Twisted's."""

    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def getHost(self) -> IAddress: ...


class AcceptPause:
    """Pauses listening ports while at least one reason stands, so that no reason undoes another.

    Clients that connect meanwhile wait in the kernel's backlog.
    """

    __slots__ = ("_acceptors", "_reasons")

    def __init__(self) -> None:
        self._acceptors: list[Acceptor] = []
        self._reasons: set[str] = set()

    def pause_on(self, acceptor: Acceptor) -> None:
        """Add a listening port; it is paused at once if the others are."""
        self._acceptors.append(acceptor)
        if self._reasons:
            acceptor.pauseProducing()

    def leave(self, acceptor: Acceptor) -> None:
        """Remove a listening port that has been closed."""
        self._acceptors.remove(acceptor)

    def accepts_at(self, address: IAddress) -> bool:
        """Whether a client that connects to an address is accepted at this time.

        :param address: as a connection has it that was accepted there.
        """
        return not self._reasons and any(_is_at(acceptor.getHost(), address) for acceptor in self._acceptors)

    @property
    def ports(self) -> list[int]:
        """Those of IP addresses, in the order in which they were added."""
        hosts = [acceptor.getHost() for acceptor in self._acceptors]
        return [host.port for host in hosts if isinstance(host, IPv4Address | IPv6Address)]

    @property
    def reasons(self) -> list[str]:
        """Those for which clients are not accepted now."""
        return sorted(self._reasons)

    def stands(self, reason: str) -> bool:
        """Whether this is one of the reasons for which clients are not accepted now."""
        return reason in self._reasons

    def accept_now(self) -> None:
        """Accept the clients that wait, without waiting for the reactor to report them."""
        for acceptor in tuple(self._acceptors):
            accept_now = getattr(acceptor, "accept_now", None)
            if accept_now is not None and not self._reasons:
                accept_now()

    def pause(self, reason: str) -> None:
        """Pause until this reason is withdrawn, and all others are; adding it twice changes nothing."""
        if not self._reasons:
            for acceptor in self._acceptors:
                acceptor.pauseProducing()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        """Withdraw a reason; one that does not stand changes nothing."""
        if reason not in self._reasons:
            return
        self._reasons.remove(reason)
        if not self._reasons:
            for acceptor in self._acceptors:
                acceptor.resumeProducing()


def _is_at(port: Any, address: Any) -> bool:
    """Whether connections to an address come to a port, which may listen on all addresses of its family."""
    if isinstance(port, IPv4Address | IPv6Address) and port.host in WILDCARDS:
        return type(address) is type(port) and bool(address.port == port.port)
    return bool(port == address)
