"""Sessions of the clients in ``debug_clients``: each step is logged; see ``trace``.

Such a session has all made from its beginning, and does what any other does.
"""

from __future__ import annotations

import typing

from twisted.python.failure import Failure

from tcpbalance.net.addresses import ClientAddress
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.dial import Decision, Pause
from tcpbalance.proxy.dialler import Dialler
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.phases import PREREAD
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.session import Session
from tcpbalance.proxy.trace import Trace


class TracedCaller(typing.Protocol):
    """What a dialler is of that notes its steps."""

    trace: Trace


class TracedDialler(Dialler):
    """Notes what it does."""

    __slots__ = ()

    @property
    def _trace(self) -> Trace:
        return typing.cast(TracedCaller, self._caller).trace

    def _carry_out(self, decision: Decision) -> None:
        if isinstance(decision, Pause):
            self._trace.note(f"pauses for {decision.seconds:.3f} s")
        super()._carry_out(decision)

    def _begin_handshake(self, transport: object) -> bytes:
        self._trace.note("the backend has accepted, its TLS handshake begins")
        return super()._begin_handshake(transport)

    def _note_failure(self, cause: str) -> None:
        if self.slot is not None:
            self._trace.note(f"backend {self.slot.backend.name}: {cause}")
        super()._note_failure(cause)


class TracedSession(Session):
    """See above.

    :ivar trace: takes the steps.
    """

    dialler_kind = TracedDialler

    __slots__ = ("_client_has_spoken", "trace")

    def __init__(
        self, context: SessionContext, address: ClientAddress, admitted: ClientAddress | None
    ) -> None:
        super().__init__(context, address, admitted)
        self.trace = Trace(context, address)
        self._client_has_spoken = False

    def start(self, client: Peer) -> None:
        """See ``Session``."""
        self.trace.accepted(client.transport, self._peer, self.admitted is not None)
        super().start(client)

    def backdate(self, seconds: float) -> None:
        """See ``Session``."""
        super().backdate(seconds)
        self.trace.taken_over(seconds)

    def client_known(self) -> None:
        """See ``Session``."""
        self._note_preread()
        super().client_known()

    def _note_preread(self) -> None:
        """Note what the client has sent first, and which it is by that."""
        if self._preread is not None:
            self.trace.client_known(self._preread, self.admitted is not None)

    def hand_over(self, received: bytes, unused: int) -> None:
        """See ``Session``."""
        self._note_preread()
        self.trace.note("handed over to the worker that the client belongs to")
        super().hand_over(received, unused)

    def _start_dial(self, pool: Pool, client: ClientAddress) -> None:
        self.trace.note(f"pool {pool.name}")
        super()._start_dial(pool, client)

    def attempt_begins(self) -> None:
        """See ``Session``."""
        slot = self._dialler.slot
        if slot is not None:
            self.trace.note(f"tries backend {slot.backend.described}")
        super().attempt_begins()

    def queued(self) -> None:
        """See ``Session``."""
        self.trace.note("waits in the queue")
        super().queued()

    def left_queue(self, waited: float) -> None:
        """See ``Session``."""
        self.trace.note(f"leaves the queue after {waited:.6f} s")
        super().left_queue(waited)

    def backend_connected(self, side: Peer) -> None:
        """See ``Session``."""
        dialler = self._dialler
        self.trace.connected(side.transport, dialler.pool.tls is not None, dialler.connect_time)
        super().backend_connected(side)

    def client_sent(self, data: bytes) -> None:
        """See ``Session``."""
        if self._phase is not PREREAD and not self._client_has_spoken:
            self._client_has_spoken = True
            self.trace.note("first byte from the client")
        super().client_sent(data)

    def backend_sent(self, data: bytes) -> None:
        """See ``Session``."""
        if self.backend is not None and not self.backend.reported:
            self.trace.note("first byte from the backend")
        super().backend_sent(data)

    def _start_direct_relay(self) -> None:
        # Not before the first byte of the backend, which would go past the session.
        if self.backend is not None and self.backend.reported:
            super()._start_direct_relay()

    def finished(self, side: Peer) -> None:
        """See ``Session``."""
        if not side.finished:
            self.trace.note(f"the {self._name(side)} has finished sending, after {side.received} bytes")
        super().finished(side)

    def write_closed(self, side: Peer) -> None:
        """See ``Session``."""
        self.trace.note(f"all bytes and their end have gone out to the {self._name(side)}")
        super().write_closed(side)

    def lost(self, side: Peer, failure: Failure) -> None:
        """See ``Session``."""
        if self._reason is None:
            self.trace.lost(self._name(side), failure)
        super().lost(side, failure)

    def _name(self, side: Peer) -> str:
        return "client" if side is self.client else "backend"

    def _decide(self, reason: EndReason) -> None:
        if self._phase is PREREAD:
            self._note_preread()
        self.trace.ends(reason.word, self.cause)
        super()._decide(reason)

    def _leave(self, client_bytes: int, backend_bytes: int) -> None:
        self.trace.over(client_bytes, backend_bytes)
        super()._leave(client_bytes, backend_bytes)


class TracedConnection(ClientConnection):
    """The client's side of such a session."""

    session_kind = TracedSession
