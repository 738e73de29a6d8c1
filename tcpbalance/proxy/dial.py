"""Finds a backend that accepts: the pool's choices in order, each at most once, under the pool's bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tcpbalance.net.connecting import ConnectFailed, Connector, Pending
from tcpbalance.net.tls.dialling import dial_tls
from tcpbalance.pool.pool import Pool, Slot
from tcpbalance.proxy.backend import BackendFactory, BackendProtocol


class Caller(Protocol):
    """Whom a dial is for."""

    def make_backend_protocol(self) -> BackendProtocol:
        """Give the protocol for a connection that stands."""
        ...

    def no_backend_left(self) -> None:
        """Hear that nobody is left to be tried."""
        ...


class Dial:
    """The attempts of one session to reach a backend.

    At any time at most one slot of the pool is held: the attempt's, which becomes the connection's.

    :param pool: whose backends are tried, at most ``1 + pool.retries`` of them.
    :param connector: opens the connections.
    :param client: the client's packed address, None when it has none.
    :param seconds: the clock.
    :param caller: told how it goes.
    :ivar preamble: what a backend is sent in the clear before a TLS handshake.
    """

    __slots__ = (
        "_caller",
        "_choices",
        "_connector",
        "_pending",
        "_seconds",
        "attempts",
        "began",
        "client",
        "connect_time",
        "failure",
        "pool",
        "preamble",
        "slot",
    )

    def __init__(
        self,
        pool: Pool,
        connector: Connector,
        client: bytes | None,
        seconds: Callable[[], float],
        caller: Caller,
    ) -> None:
        self.pool = pool
        self._connector = connector
        self._choices = pool.choices(client)
        self._seconds = seconds
        self._caller: Caller | None = caller
        self._pending: Pending | None = None
        self.began = 0.0
        self.client = client
        self.slot: Slot | None = None
        self.attempts = 0
        self.connect_time: float | None = None
        self.failure: ConnectFailed | None = None
        self.preamble = b""

    def next(self) -> None:
        """Try the next backend, or give up."""
        backend = next(self._choices, None) if self.attempts <= self.pool.retries else None
        if backend is None:
            self._give_up()
            return
        self.attempts += 1
        self.slot = self.pool.take(backend, self.client)
        self.began = self._seconds()
        address, timeout, tls = backend.address, self.pool.connect_timeout, self.pool.tls
        if tls is None:
            self._pending = self._connector.connect(address, BackendFactory(self), timeout)
        else:
            peer = tls.peer(address, backend.server_name)
            self._pending = dial_tls(
                self._connector, address, BackendFactory(self), timeout, peer, lambda _: self.preamble
            )

    def accepted(self) -> BackendProtocol:
        """The backend accepted: its slot is the session's until ``end``."""
        assert self.slot is not None
        self._pending = None
        self.connect_time = self._seconds() - self.began
        self.slot.connected(self.connect_time)
        assert self._caller is not None
        return self._caller.make_backend_protocol()

    def refused(self, failure: ConnectFailed) -> None:
        """The attempt failed. When the fault is ours, no other backend could do better and none is blamed."""
        self._pending = None
        self.failure = failure
        if failure.out_of_descriptors:
            self._drop_slot(blame=False)
            self._give_up()
        else:
            self._drop_slot(blame=True)
            self.next()

    def again(self, cause: str) -> None:
        """The backend broke off before it had said anything: try another.

        :param cause: what it did, in a word.
        """
        self.failure = ConnectFailed(cause)
        self.connect_time = None
        self._drop_slot(blame=True)
        self.next()

    def end(self) -> None:
        """Give up what is under way, give back the slot, and let go of the caller; calling it again does
        nothing."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._drop_slot(blame=False)
        self._choices.close()
        self._caller = None

    def settle(self) -> None:
        """No other backend will be asked for: the policy hears so now."""
        self._choices.close()

    def _give_up(self) -> None:
        if self._caller is not None:
            self._caller.no_backend_left()

    def _drop_slot(self, blame: bool) -> None:
        if self.slot is None:
            return
        if blame:
            self.slot.failed(self._seconds() - self.began)
        self.slot.release()
        self.slot = None
