"""Opens a tunnel for one request: finds out whether its client may have it, and connects."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tcpbalance.config.addresses import Address
from tcpbalance.errors import Fault
from tcpbalance.http.connect.access import ConnectAccess
from tcpbalance.http.connect.refusals import ConnectRefusal, ConnectRefused
from tcpbalance.net.connect_errors import AddressRefused, ConnectFailed
from tcpbalance.net.connecting import Connector, Pending
from tcpbalance.proxy.dialler import GIVEN_UP
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.queue_entry import PauseTimer
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.http.head import RequestHead


class OpeningCaller(typing.Protocol):
    """The request that a tunnel is opened for."""

    def tunnel_reached(self, side: Peer) -> None:
        """The destination has accepted."""
        ...

    def tunnel_refused(self, refusal: ConnectRefusal) -> None:
        """The client may not have it."""
        ...

    def tunnel_failed(self, reason: EndReason, cause: str) -> None:
        """There is no connection to the destination."""
        ...


class _Destination(Peer):
    """The destination's side, which the tunnel takes over as soon as it is connected."""

    def __init__(self, on_connected: Callable[[Peer], None]) -> None:
        self._on_connected = on_connected

    def connectionMade(self) -> None:
        """The destination has accepted."""
        on_connected = self._on_connected
        # No reference cycle is left behind for the garbage collector to find.
        del self._on_connected
        on_connected(self)


class TunnelOpening:
    """Opens one tunnel, all within the time that the table allows.

    It is the factory of the attempt's connection, too, and to the request what a dialler is.

    :param access: decides.
    :param connector: opens the connection.
    :param clock: seconds on a monotonic clock.
    :param address: what the client asks for.
    :param caller: called with the outcome.
    :ivar address: the same.
    :ivar user: the name that the client gives, if it is that of a user; else None.
    :ivar failure: how the attempt has failed; None where it has not.
    :ivar attempts: 1 once a connection was tried.
    :ivar began: when it was tried.
    :ivar connect_time: seconds that connecting has taken; None where it has not succeeded.
    :ivar failures: see ``Dialler``.
    :ivar side: the destination's, once it is connected.
    """

    queued = False
    slot = None

    def __init__(
        self,
        access: ConnectAccess,
        connector: Connector,
        clock: Callable[[], float],
        address: Address,
        caller: OpeningCaller,
    ) -> None:
        self._access = access
        self._connector = connector
        self._clock = clock
        self._caller: OpeningCaller | None = caller
        self.address = address
        self._check: Deferred[bool] | None = None
        self._pending: Pending | None = None
        self._until = 0.0
        self.user: bytes | None = None
        self.failure: ConnectFailed | None = None
        self.attempts = 0
        self.began = 0.0
        self.connect_time: float | None = None
        self.failures: Sequence[tuple[str, str]] = ()
        self.side: Peer | None = None

    @property
    def dial(self) -> TunnelOpening:
        """See ``Dialler``: what decides on attempts; there is one of them."""
        return self

    def begin(self, head: RequestHead, client: bytes | None) -> None:
        """Begin, for a client that has sent a head.

        :param client: its packed address; None where it has none.
        """
        timeout = self._access.settings.timeout
        self._until = self._clock() + timeout
        try:
            permission = self._access.ask(head, client)
        except ConnectRefused as error:
            self._refuse(error.refusal)
            return
        self.user = permission.user
        if isinstance(permission.is_right, Deferred):
            self._pending = PauseTimer(self._connector.wheel, timeout, self._late, self._broken)
            self._check = permission.is_right
            self._check.addCallbacks(self._checked, _ignore)
        else:
            self._checked(permission.is_right)

    def _checked(self, is_right: bool) -> None:
        self._check = None
        self._cancel()
        if not is_right:
            self._refuse(ConnectRefusal.WRONG_CREDENTIALS)
        elif self._access.settings.destinations.has(self.address):
            self._connect()
        else:
            self._refuse(ConnectRefusal.DESTINATION)

    def _connect(self) -> None:
        may_dial = partial(self._access.settings.destinations.may_dial, self.address)
        self.began = self._clock()
        self.attempts = 1
        self._pending = self._connector.connect(
            self.address, self, max(0.0, self._until - self.began), may_dial
        )

    def _refuse(self, refusal: ConnectRefusal) -> None:
        if self._caller is not None:
            self._caller.tunnel_refused(refusal)

    def _fail(self, reason: EndReason, cause: str) -> None:
        if self._caller is not None:
            self._caller.tunnel_failed(reason, cause)

    def _late(self) -> None:
        self._fail(EndReason.TUNNEL_TIMEOUT, "the password was not checked in time")

    def _broken(self) -> None:
        self._fail(EndReason.INTERNAL_ERROR, "")

    # The factory of the connection

    def buildProtocol(self, addr: Any) -> Peer:
        """See ``ConnectionFactory``: the destination has accepted."""
        self._pending = None
        self.connect_time = self._clock() - self.began
        return _Destination(self._connected)

    def _connected(self, side: Peer) -> None:
        self.side = side
        assert self._caller is not None
        self._caller.tunnel_reached(side)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """See ``ConnectionFactory``.

        :param reason: holds a ``ConnectFailed``.
        """
        failure = reason.value
        assert isinstance(failure, ConnectFailed)
        self._pending = None
        self.failure = failure
        self.failures = ((str(self.address), failure.cause),)
        if isinstance(failure, AddressRefused):
            self._refuse(ConnectRefusal.ADDRESS)
        else:
            self._fail(_reason_of(failure), failure.cause)

    # What a session asks of its dialler

    def answered(self) -> None:
        """See ``Dialler``: nothing is counted of the destination."""

    def lacked(self, error: OSError) -> None:
        """See ``Dialler``."""
        self.failure = ConnectFailed.from_error(error)

    def reset_unanswered(self, cause: str) -> None:
        """See ``Dialler``."""
        self.failure = ConnectFailed(cause)

    def end(self) -> None:
        """Give up what is under way, and forget the caller; calling it again does nothing."""
        if self._pending is not None and self.attempts:
            self.failures = ((str(self.address), GIVEN_UP),)
        self._caller = None
        check, self._check = self._check, None
        if check is not None:
            check.cancel()
        self._cancel()

    def _cancel(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()


def _ignore(_: Failure) -> None:
    """Take the outcome of a check that was cancelled."""


def _reason_of(failure: ConnectFailed) -> EndReason:
    if failure.is_late:
        return EndReason.TUNNEL_TIMEOUT
    if failure.out_of_descriptors:
        return EndReason.OUT_OF_DESCRIPTORS
    return EndReason.LOCAL_FAILURE if failure.fault is Fault.BALANCER else EndReason.TUNNEL_FAILED
