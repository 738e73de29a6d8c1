"""Opens connections to backends: options first, the addresses of a name in turn, under one deadline."""

from __future__ import annotations

import errno
import functools
import os
import socket
from collections.abc import Callable
from socket import SocketType
from time import monotonic
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocol, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.config.addresses import Address
from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.net.addresses import peer_address
from tcpbalance.net.data_path import DataPath, TwistedDataPath, begin
from tcpbalance.net.ends import NO_LINGER
from tcpbalance.net.faults import (
    OUT_OF_DESCRIPTORS,
    REMEDY_OF_LOOKUP,
    fault_of_errno,
    fault_of_lookup,
    remedy_of_errno,
)
from tcpbalance.net.own_ports import is_self_connected, own_ports
from tcpbalance.net.resolver.answer import Verdict
from tcpbalance.net.resolver.resolution import Resolution
from tcpbalance.net.resolver.resolver import Resolver, resolver_of
from tcpbalance.net.resolver.targets import Target, Targets, numeric_target
from tcpbalance.net.socket_options import SocketOptionError, SocketOptions
from tcpbalance.net.wheel import Wheel

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
_UNDER_WAY = (0, errno.EINPROGRESS)
_STANDS = (0, errno.EISCONN)
"""What ``connect`` answers at first, and once there is a connection."""

_log = Logger()

_backend_address = functools.lru_cache(1024)(peer_address)
"""Backends are few, and each connection asks for the address of one."""

RESOLUTION = 0.02
"""Seconds from one turn of the wheel of all dials to the next: one timer instead of one for each. Fine enough
for pauses that chance sets apart."""

MAX_SILENT = 8
"""Addresses of a name that can be waited for in one dial. An equal part of the time for each of very many
would be shorter than the round trip to them."""

NO_ZONE = "no such network interface"
"""The cause when this machine lacks the interface of a link-local address (``%eth0``)."""


class ConnectFailed(TcpbalanceError):
    """A backend could not be connected; ``cause`` is the reason in a word or two, as logs show it.

    :param cause: why, for people.
    :param fault: ``BACKEND`` where it says something about the backend, which may then be blamed for it, and
        ``BALANCER`` where it does not.
    :param out_of_descriptors: it was this process that had no descriptor left: no other backend would do
        better.
    :param remedy: what the operator can do about it, empty where that is not known.
    """

    retryable = True

    def __init__(
        self,
        cause: str,
        fault: Fault = Fault.BACKEND,
        *,
        out_of_descriptors: bool = False,
        remedy: str = "",
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.fault = fault
        self.out_of_descriptors = out_of_descriptors
        self.remedy = remedy

    @classmethod
    def from_errno(cls, code: int) -> ConnectFailed:
        """The failure that an error number of the system stands for."""
        return cls(
            _CAUSES.get(code) or os.strerror(code).lower(),
            fault_of_errno(code),
            out_of_descriptors=code in OUT_OF_DESCRIPTORS,
            remedy=remedy_of_errno(code),
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
        )


def internal_error() -> ConnectFailed:
    """The failure of an attempt that an exception of our own has ended, which is logged."""
    return ConnectFailed("internal error", Fault.BALANCER)


def timed_out(seconds: float) -> str:
    """The cause of what took longer than it may."""
    return f"timed out after {seconds:g} s"


def _ignore(_: object) -> None:
    """Stand for what was cancelled."""


class ConnectionFactory(Protocol):
    """What learns how an attempt ended: the part of Twisted's ``ClientFactory`` that is used."""

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        """Called when the connection stands; None closes it."""
        ...

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Called when it does not come about, *reason* holding a ``ConnectFailed``."""
        ...


class Pending(Protocol):
    """An attempt under way."""

    def cancel(self) -> None:
        """Give up; the factory hears nothing more."""
        ...


class Connector(Protocol):
    """Opens connections: the seam at which carriers and tests replace sockets.

    :ivar wheel: times what follows a connection that stands.
    """

    wheel: Wheel

    def connect(self, address: Address, factory: ConnectionFactory, timeout: float) -> Pending:
        """Start an attempt of at most *timeout* seconds; *factory* never hears of it before this returns."""
        ...


class SocketConnector:
    """A ``Connector`` over the system's sockets.

    :param reactor: IReactorTime and, for names, IReactorFromThreads; watches the sockets where no road is
        given.
    :param options: set on each socket before it connects.
    :param road: what sockets are watched by, and what carries those connected; the portable one by default.
    :param resolver: knows the addresses of names; the one of the reactor by default.
    """

    def __init__(
        self,
        reactor: Any,
        options: SocketOptions,
        data_path: DataPath | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.reactor = reactor
        self.options = options
        self.data_path = data_path or TwistedDataPath(reactor)
        self.clock: Callable[[], float] = monotonic
        self.wheel = Wheel(reactor, self.clock, RESOLUTION)
        self.own_ports = own_ports()
        self._resolver = resolver

    def connect(self, address: Address, factory: ConnectionFactory, timeout: float) -> Pending:
        """See ``Connector``."""
        attempt = _Attempt(self, factory, timeout)
        if address.path is not None:
            attempt.begin([(socket.AF_UNIX, address.path)])
            return attempt
        host, port = str(address.host), int(address.port or 0)
        if not address.is_numeric:
            name = (self._resolver or resolver_of(self.reactor)).resolution(host)
            waiting = name.look_up()
            if waiting is None:
                attempt.begin_at(name, port)
            else:
                attempt.wait_for(waiting, name, port)
            return attempt
        try:
            target = numeric_target(host, port)
        except OSError:
            attempt.fail(ConnectFailed(NO_ZONE, Fault.BALANCER))
        else:
            attempt.begin([target])
        return attempt


@implementer(IWriteDescriptor)
class _Attempt:
    """One attempt: the addresses of one backend in turn, until one accepts or the time is over.

    Each address gets its part of the time that is left, so that one which hangs leaves some for the others,
    and not less than ``MAX_SILENT`` allows. What becomes of each is told to those that know the name.
    """

    __slots__ = (
        "_connector",
        "_deadline",
        "_factory",
        "_family",
        "_known",
        "_leg",
        "_lookup",
        "_over",
        "_several",
        "_socket",
        "_target",
        "_targets",
        "_telling",
        "_timeout",
        "slot",
    )

    def __init__(self, connector: SocketConnector, factory: ConnectionFactory, timeout: float) -> None:
        self._connector = connector
        self._factory = factory
        self._targets: list[Target] | None = None
        self._known: Targets | None = None
        self._several = False
        self._socket: SocketType | None = None
        self._family = 0
        self._target: Any = None
        self._leg: Any = None
        self._lookup: Deferred[None] | None = None
        self._over = False
        self._timeout = timeout
        self._telling: IDelayedCall | None = None
        self.slot: int | None = None
        self._deadline = connector.wheel.watch(self, timeout)

    def wait_for(self, lookup: Deferred[None], name: Resolution, port: int) -> None:
        """Go ahead once a name has been looked up, which is waited for until this ends."""
        self._lookup = lookup
        lookup.addCallbacks(lambda _: self.begin_at(name, port), _ignore)

    def _leave_lookup(self) -> None:
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.cancel()

    def begin_at(self, name: Resolution, port: int) -> None:
        """Go ahead with the addresses of a name, or fail for want of any."""
        known = name.targets(port)
        if known is None:
            self.fail(ConnectFailed.from_lookup(name.verdict or Verdict.UNKNOWN))
        else:
            targets = known.order()
            if len(targets) > 1:
                self._known = known
            self.begin(targets)

    def begin(self, targets: list[Target]) -> None:
        """Go ahead, now that it is known where to."""
        if not self._over:
            self._targets = list(targets)
            self._several = len(targets) > 1
            self._next(None)

    def fail(self, failure: ConnectFailed) -> None:
        """Let *failure* be the outcome, told in a later turn of the reactor."""
        if not self._over:
            self._over = True
            self._leave_lookup()
            self._connector.wheel.forget(self)
            self._telling = self._connector.reactor.callLater(0, self._tell, failure)

    def _tell(self, failure: ConnectFailed) -> None:
        self._telling = None
        reason = Failure(failure)  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._factory.clientConnectionFailed(self, reason)

    def cancel(self) -> None:
        """See ``Pending``."""
        self._over = True
        self._leave_lookup()
        self._connector.wheel.forget(self)
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._drop_socket()

    def check(self, now: float) -> None:
        """See ``wheel.Watched``: the time is over, at least that of the address which is being tried."""
        if self._targets is None:
            self.fail(ConnectFailed.from_lookup(Verdict.TIMED_OUT))
            return
        sock = self._socket
        if sock is not None:
            # The kernel may have decided in time, and our loop be late to look.
            self._leg = self._decide()
            if self._socket is not sock:
                return
        self._drop_socket()
        self._next(ConnectFailed(timed_out(self._timeout)))

    def _next(self, failure: ConnectFailed | None) -> None:
        """Go on to the next address; with none left, *failure* is the outcome."""
        while True:
            if failure is not None and self._known is not None and failure.fault is Fault.BACKEND:
                self._known.failed((self._family, self._target))
            if not self._targets or (failure and (failure.out_of_descriptors or self._is_late)):
                break
            if self._several:
                self._share_time()
            self._family, self._target = self._targets.pop(0)
            failure = self._open()
            if failure is None:
                return
            self._drop_socket()
        assert failure is not None  # There is a target at least.
        self.fail(failure)

    @property
    def _is_late(self) -> bool:
        return self._several and self._connector.clock() >= self._deadline

    def _share_time(self) -> None:
        assert self._targets
        left = max(0.0, self._deadline - self._connector.clock())
        part = max(left / len(self._targets), self._timeout / MAX_SILENT)
        self._connector.wheel.watch(self, min(left, part))

    def _open(self) -> ConnectFailed | None:
        """Begin to connect to the target.

        :returns: the failure where it is known at once.
        """
        try:
            # The C type: half of what making and closing a socket takes here is what Python adds to it.
            sock = self._socket = SocketType(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self._connector.options.prepare_dial(sock, self._family)
            code = sock.connect_ex(self._target)
            if code in _UNDER_WAY:
                self._connector.data_path.await_connection(sock, self)
        except OSError as error:
            return ConnectFailed.from_error(error)
        except SocketOptionError as error:
            return ConnectFailed(str(error), Fault.BALANCER)
        except Exception:
            # Not every caller could deal with it: the reactor and a name's answer know nothing of dials.
            _log.failure("an exception has ended the dial of {target}", target=self._target)
            assert self._targets is not None
            self._targets.clear()
            return internal_error()
        return None if code in _UNDER_WAY else ConnectFailed.from_errno(code)

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._connector.data_path.leave_connection(self)
            self._socket.close()
            self._socket = None

    def doWrite(self) -> None:
        """The reactor's call: the kernel may have decided."""
        self._decide()

    def on_events(self, events: int) -> None:
        """The switchboard's call. What else the event says is for the leg: an edge comes only once."""
        self._leg = self._decide()
        if self._leg is not None:
            self._leg.on_events(events)

    def on_teardown(self) -> None:
        """See ``switchboard.Handler``; the session ends by its client's side."""
        self.cancel()

    def on_failure(self, failure: Failure) -> None:
        """See ``switchboard.Handler``; once there is a leg, it was the leg's protocol that has raised."""
        if self._leg is not None:
            self._leg.on_failure(failure)
            return
        self._drop_socket()
        self.fail(internal_error())

    def _decide(self) -> Any:
        """Ask whether the connection stands, which a second ``connect`` tells: connect(2).

        Not for a unix socket: it stands as soon as ``connect`` has returned, and a second one would look at
        the listener, which may be full or gone by now.

        :returns: the transport, once it does.
        """
        assert self._socket is not None
        code = 0 if self._family == socket.AF_UNIX else self._socket.connect_ex(self._target)
        if code in _STANDS:
            if not self._reached_nobody(self._socket):
                return self._succeed(self._socket)
            code = errno.ECONNREFUSED
        if code != errno.EALREADY:
            self._drop_socket()
            self._next(ConnectFailed.from_errno(code))
        return None

    def _reached_nobody(self, sock: SocketType) -> bool:
        """Whether the socket has connected to itself; asked only where that can be."""
        if self._family == socket.AF_UNIX or self._target[1] not in self._connector.own_ports:
            return False
        try:
            itself = is_self_connected(sock, self._target[1])
        except OSError:
            return False  # It has broken off by now, which its transport will tell.
        if itself:
            # Without a reset it would keep the backend's port for a minute.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        return itself

    def _succeed(self, sock: SocketType) -> Any:
        if self._known is not None:
            self._known.accepted((self._family, self._target))
        address = _backend_address(self._family, self._target)
        try:
            protocol = self._factory.buildProtocol(address)
        except Exception:
            _log.failure("a connection to {target} could not be used", target=self._target)
            self._drop_socket()
            self.fail(internal_error())
            return None
        self._over = True
        self._connector.wheel.forget(self)
        if protocol is None:
            self._drop_socket()
            return None
        self._connector.data_path.end_attempt(self)
        self._socket = None
        try:
            return begin(self._connector.data_path, sock, protocol, address)
        except OSError:
            failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            _log.failure("a connection to {target} could not be watched", failure, target=self._target)
            sock.close()
            protocol.connectionLost(failure)
            return None

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw only that something is wrong with the descriptor; the socket knows what."""
        if self._socket is not None:
            self.doWrite()

    def fileno(self) -> int:
        """The descriptor to watch, -1 when there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "dial"
