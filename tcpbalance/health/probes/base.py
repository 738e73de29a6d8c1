"""The seam where a health probe is plugged in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from tcpbalance.config.addresses import Address
from tcpbalance.config.messages import one_line
from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.net.connect_errors import timed_out
from tcpbalance.net.resolver.resolver import Resolver, resolver_of
from tcpbalance.net.tls.client import ClientTls
from tcpbalance.reactor import Reactor
from tcpbalance.wire.proxy_protocol import ProxyVersion

MAX_CAUSE = 200
"""Characters of a cause: it goes into one line of the log."""


@define
class Deadline:
    """What is said when the time of a check is over.

    :ivar cause: says what the backend has failed to do within so many seconds; a probe may put its own here,
        which says what it has got so far.
    """

    cause: Callable[[float], str] = timed_out


@frozen
class Target:
    """What is to be checked, and with what.

    :ivar address: where the backend listens.
    :ivar name: what the operator calls it.
    :ivar timeout: seconds the check may take. The monitor cancels it then; a probe need not.
    :ivar reactor: the reactor; for more than time, adapt it: ``IReactorProcess(target.reactor)``.
    :ivar send_proxy_protocol: the version of the PROXY header that the backend expects first, None for none.
    :ivar tls: what its pool speaks TLS with, None where it does not.
    :ivar server_name: what the backend is asked for by TLS, None for the pool's or the host of its address.
    :ivar resolver: knows the addresses of names, None for the one of the reactor.
    :ivar deadline: says what is wrong when the time of this check is over.
    """

    address: Address
    name: str
    timeout: float
    reactor: Reactor
    send_proxy_protocol: ProxyVersion | None = None
    tls: ClientTls | None = None
    server_name: str | None = None
    resolver: Resolver | None = None
    deadline: Deadline = field(factory=Deadline, eq=False, repr=False)

    @property
    def is_being_looked_up(self) -> bool:
        """Whether the backend has a name of which it is not known yet whether it has an address."""
        if not self.address.is_name:
            return False
        resolver = self.resolver or resolver_of(self.reactor)
        return resolver.resolution(str(self.address.host)).is_open


class Probe(Protocol):
    """Finds out whether a backend can serve: an attrs class whose fields are the keys of the configuration.

    One instance serves all backends of a pool, so it keeps nothing of a check on itself.
    """

    def check(self, target: Target) -> Deferred[None] | Coroutine[Deferred[Any], Any, None]:
        """Check one backend once; ``async def check(self, target) -> None`` does.

        Passes by coming to its end with None. Fails with `ProbeFailed`, with `ConnectFailed`, or with one of
        Twisted's errors of connecting and connections, which are named for the operator. Closes what it
        opened, cancelled or not.

        :raises ProbeFailed: the backend cannot serve.
        :raises NoVerdict: nothing was learnt about the backend.
        """
        ...


class ProbeFailed(TcpbalanceError):
    """The backend did not pass; ``cause`` is the reason in a few words, as the log shows it.

    :param cause: why, for people; made fit for one line, because it may come from anywhere.
    """

    fault = Fault.BACKEND

    def __init__(self, cause: object) -> None:
        self.cause = one_line(str(cause), MAX_CAUSE)
        super().__init__(self.cause)


class NoVerdict(TcpbalanceError):
    """The check could not be made for want of something on our side; the backend stays what it was.

    :param cause: what is missing, for people; made fit for one line.
    :param remedy: what the operator can do about it, empty where that is not known.
    """

    def __init__(self, cause: object, remedy: str = "") -> None:
        self.cause = one_line(str(cause), MAX_CAUSE)
        self.remedy = remedy
        super().__init__(self.cause)
