"""One attempt to connect to a backend: options first, the addresses of a name in turn, under one deadline."""

from __future__ import annotations

import errno
import functools
import socket
from collections.abc import Callable
from socket import SocketType
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.errors import Fault
from tcpbalance.net.addresses import peer_address
from tcpbalance.net.connect_errors import AddressRefused, ConnectFailed, internal_error, timed_out
from tcpbalance.net.connecting import ConnectionFactory, MayDial
from tcpbalance.net.data_path import DataPath, begin
from tcpbalance.net.ends import reset_on_close
from tcpbalance.net.own_ports import has_reached_itself
from tcpbalance.net.resolver.answer import Verdict
from tcpbalance.net.resolver.resolution import Resolution
from tcpbalance.net.resolver.targets import SocketAddress, Targets
from tcpbalance.net.socket_options import STREAM, SocketOptionError, SocketOptions
from tcpbalance.net.wheel import Wheel

UNDER_WAY = (0, errno.EINPROGRESS)
_CONNECTED = (0, errno.EISCONN)
"""What ``connect`` answers at first, and once the socket is connected."""

_log = Logger()

backend_address = functools.lru_cache(1024)(peer_address)
"""There are few backends, and each connection asks for the address of one."""

MAX_SILENT = 8
"""Addresses of a name that can be waited for in one dial. An equal part of the time for each of very many
would be shorter than the round trip to them."""


MakeSocket = Callable[[int, int], SocketType]
"""Makes a socket of a family and a type."""


class AttemptContext(Protocol):
    """The part of a connector that its attempts use.

    :ivar own_ports: the ports of which the kernel chooses one for our end.
    """

    reactor: Any
    options: SocketOptions
    make_socket: MakeSocket
    data_path: DataPath
    clock: Callable[[], float]
    wheel: Wheel
    own_ports: range


def begin_to_connect(
    make_socket: MakeSocket, prepare: Callable[[SocketType, int], None], family: int, target: Any
) -> SocketType:
    """Make a socket and begin to connect it.

    :param make_socket: makes it.
    :param prepare: sets its options.
    :param family: its address family.
    :param target: where to, as the socket module calls it.
    :raises ConnectFailed: it fails at once.
    """
    try:
        sock = make_socket(family, STREAM)
    except OSError as error:
        raise ConnectFailed.from_error(error) from error
    try:
        prepare(sock, family)
        code = sock.connect_ex(target)
        if code in UNDER_WAY:
            return sock
        failure = ConnectFailed.from_errno(code)
    except SocketOptionError as error:
        failure = ConnectFailed(str(error), Fault.BALANCER)
    except OSError as error:
        failure = ConnectFailed.from_error(error)
    except BaseException:
        sock.close()
        raise
    sock.close()
    raise failure


def _ignore(_: object) -> None:
    """Take the outcome of a lookup that was cancelled."""


@implementer(IWriteDescriptor)
class ConnectAttempt:
    """One attempt: the addresses of one backend in turn, until one accepts or the time is over.

    Each address gets its part of the time that is left, so that one which hangs leaves some for the others,
    and not less than ``MAX_SILENT`` allows. What becomes of each is reported to the resolver's targets.
    """

    __slots__ = (
        "_context",
        "_deadline",
        "_factory",
        "_family",
        "_known",
        "_lookup",
        "_may_dial",
        "_over",
        "_report_call",
        "_several",
        "_socket",
        "_target",
        "_targets",
        "_timeout",
        "_transport",
        "slot",
    )

    def __init__(
        self,
        context: AttemptContext,
        factory: ConnectionFactory,
        timeout: float,
        may_dial: MayDial | None = None,
    ) -> None:
        self._context = context
        self._factory = factory
        self._may_dial = may_dial
        self._targets: list[SocketAddress] | None = None
        self._known: Targets | None = None
        self._several = False
        self._socket: SocketType | None = None
        self._family = 0
        self._target: Any = None
        self._transport: Any = None
        self._lookup: Deferred[None] | None = None
        self._over = False
        self._timeout = timeout
        self._report_call: IDelayedCall | None = None
        self.slot: int | None = None
        self._deadline = context.wheel.watch(self, timeout)

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

    def begin(self, targets: list[SocketAddress]) -> None:
        """Go ahead, now that it is known where to."""
        if self._over:
            return
        self._targets = list(targets)
        if self._may_dial is not None:
            self._targets = [target for target in targets if self._may_dial(target[1][0])]
        self._several = len(self._targets) > 1
        if self._targets:
            self._next(None)
        else:
            self.fail(AddressRefused())

    def take_over(self, sock: SocketType, target: SocketAddress, left: float) -> None:
        """Go ahead with a socket that ``begin_to_connect`` has made, for as many seconds as are left."""
        self._deadline = self._context.wheel.watch(self, left)
        self._targets = []
        self._family, self._target = target
        self._socket = sock
        self._context.data_path.await_connection(sock, self)

    def fail(self, failure: ConnectFailed) -> None:
        """Let *failure* be the outcome, reported in a later turn of the reactor."""
        if not self._over:
            self._over = True
            self._leave_lookup()
            self._context.wheel.forget(self)
            self._report_call = self._context.reactor.callLater(0, self._report, failure)

    def _report(self, failure: ConnectFailed) -> None:
        self._report_call = None
        reason = Failure(failure)  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._factory.clientConnectionFailed(self, reason)

    def cancel(self) -> None:
        """See ``Pending``."""
        self._over = True
        self._leave_lookup()
        self._context.wheel.forget(self)
        if self._report_call is not None:
            self._report_call.cancel()
            self._report_call = None
        self._drop_socket()

    def check(self, now: float) -> None:
        """See ``wheel.Watched``: the time is over, at least that of the address which is being tried."""
        if self._targets is None:
            self.fail(ConnectFailed.from_lookup(Verdict.TIMED_OUT))
            return
        sock = self._socket
        if sock is not None:
            # The kernel may have decided in time, and our loop be late to look.
            self._transport = self._decide()
            if self._socket is not sock:
                return
        self._drop_socket()
        self._next(ConnectFailed(timed_out(self._timeout), is_late=True))

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
        return self._several and self._context.clock() >= self._deadline

    def _share_time(self) -> None:
        assert self._targets
        left = max(0.0, self._deadline - self._context.clock())
        part = max(left / len(self._targets), self._timeout / MAX_SILENT)
        self._context.wheel.watch(self, min(left, part))

    def _open(self) -> ConnectFailed | None:
        """Begin to connect to the target.

        :returns: the failure where it is known at once.
        """
        try:
            sock = self._socket = begin_to_connect(
                self._context.make_socket, self._context.options.prepare_dial, self._family, self._target
            )
            self._context.data_path.await_connection(sock, self)
        except ConnectFailed as failure:
            return failure
        except OSError as error:
            return ConnectFailed.from_error(error)
        except Exception:
            # Not every caller could deal with it: the reactor and a name's answer know nothing of dials.
            _log.failure("an exception has ended the dial of {target}", target=self._target)
            assert self._targets is not None
            self._targets.clear()
            return internal_error()
        return None

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._context.data_path.leave_connection(self)
            # It may be connected by now, and the backend is not to take that for an end of the stream.
            reset_on_close(self._socket)
            self._socket.close()
            self._socket = None

    def doWrite(self) -> None:
        """The reactor's call: the kernel may have decided."""
        self._decide()

    def on_events(self, events: int) -> None:
        """See ``poller.Handler``. What else the event says is for the transport: an edge comes only once."""
        self._transport = self._decide()
        if self._transport is not None:
            self._transport.on_events(events)

    def on_teardown(self) -> None:
        """See ``poller.Handler``; the session ends by its client's side."""
        self.cancel()

    def on_failure(self, failure: Failure) -> None:
        """See ``poller.Handler``; once there is a transport, it was its protocol that has raised."""
        if self._transport is not None:
            self._transport.on_failure(failure)
            return
        self._drop_socket()
        self.fail(internal_error())

    def _decide(self) -> Any:
        """Ask whether the socket is connected, by a second ``connect``: connect(2).

        Not for a unix socket: it is connected as soon as ``connect`` has returned, and a second one would ask
        the listener, which may be full or gone by now.

        :returns: the transport, once it does.
        """
        assert self._socket is not None
        code = 0 if self._family == socket.AF_UNIX else self._socket.connect_ex(self._target)
        if code in _CONNECTED:
            ports = self._context.own_ports
            if not has_reached_itself(self._socket, self._family, self._target, ports):
                return self._succeed(self._socket)
            code = errno.ECONNREFUSED
        if code != errno.EALREADY:
            self._drop_socket()
            self._next(ConnectFailed.from_errno(code))
        return None

    def _succeed(self, sock: SocketType) -> Any:
        if self._known is not None:
            self._known.accepted((self._family, self._target))
        address = backend_address(self._family, self._target)
        try:
            protocol = self._factory.buildProtocol(address)
        except Exception:
            _log.failure("a connection to {target} could not be used", target=self._target)
            self._drop_socket()
            self.fail(internal_error())
            return None
        self._over = True
        self._context.wheel.forget(self)
        if protocol is None:
            self._drop_socket()
            return None
        self._context.data_path.end_attempt(self)
        self._socket = None
        try:
            return begin(self._context.data_path, sock, protocol, address)
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
