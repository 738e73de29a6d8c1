"""Sessions of the clients in ``debug_clients``: each step is logged, with the time since the accept.

Such a session has all made from its beginning, and does what any other does. Facts of the connection are
logged, never its bytes.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.log import TRACE
from tcpbalance.config.messages import one_line
from tcpbalance.net.addresses import ClientAddress, address_text
from tcpbalance.net.tls.openssl import agreement
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.dial import Decision, Pause
from tcpbalance.proxy.dialler import Dialler
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.phases import PREREAD
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.session import Session

# As the attribute of a class it would have the name of that.
_log = Logger(TRACE)


class Trace:
    """Logs the steps of one connection; those that come before its client is known wait for that.

    :param context: of the frontend.
    :param peer: where the connection comes from.
    """

    def __init__(self, context: SessionContext, peer: ClientAddress) -> None:
        self._context = context
        self._client = peer
        self._began = context.clock()
        # No more than a few steps come before: see `TracedSession`.
        self._waiting: list[tuple[float, str]] | None = [] if not context.debug.has(peer) else None
        self._is_dropped = False

    def note(self, step: str) -> None:
        """Log a step."""
        after = self._context.clock() - self._began
        if self._is_dropped:
            return
        if self._waiting is None:
            self._write(after, step)
        else:
            self._waiting.append((after, step))

    def backdate(self, seconds: float) -> None:
        """Take into account that the connection was accepted some seconds ago."""
        self._began -= seconds

    def is_of(self, client: ClientAddress) -> None:
        """Take note of the client, which is another one than the peer behind a proxy."""
        self._client = client
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        self._is_dropped = not self._context.debug.has(client)
        for after, step in () if self._is_dropped else waiting:
            self._write(after, step)

    def _write(self, after: float, step: str) -> None:
        _log.info(
            "frontend {frontend}: client {client}, +{after:.6f} s: {step}",
            frontend=self._context.name,
            client=str(self._client),
            after=after,
            step=step,
        )


def log_refused(context: SessionContext, client: ClientAddress, refusal: Refusal) -> None:
    """Log the one step of a client that gets no session."""
    Trace(context, client).note(f"refused: {refusal.word}, {refusal.meaning}")


class _TracedDialler(Dialler):
    """Notes what it does."""

    __slots__ = ()

    @property
    def _trace(self) -> Trace:
        return cast(TracedSession, self._caller).trace

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

    dialler_kind = _TracedDialler

    __slots__ = ("_client_has_spoken", "trace")

    def __init__(
        self, context: SessionContext, address: ClientAddress, admitted: ClientAddress | None
    ) -> None:
        super().__init__(context, address, admitted)
        self.trace = Trace(context, address)
        self._client_has_spoken = False

    def start(self, client: Peer) -> None:
        """See ``Session``."""
        trace, preread = self.trace, self._context.preread
        trace.note(f"accepted at {address_text(client.transport.getHost())}")
        if self.admitted is not None:
            trace.note("admitted")
        if preread is not None and preread.asks(self._peer):
            trace.note(f"waits for {_awaited(preread, self._peer)}")
        super().start(client)

    def backdate(self, seconds: float) -> None:
        """See ``Session``."""
        super().backdate(seconds)
        self.trace.backdate(seconds)
        self.trace.note("taken over from the worker that has accepted it")

    def client_known(self) -> None:
        """See ``Session``."""
        self._note_preread()
        super().client_known()

    def _note_preread(self) -> None:
        """Note what the client has sent first, and which it is by that."""
        preread, trace = self._preread, self.trace
        if preread is None:
            return
        if preread.header is not None:
            trace.note(f"the PROXY header of {preread.peer} names {preread.client}")
        trace.is_of(preread.client)
        if preread.header is not None and self.admitted is not None:
            trace.note("admitted")
        if preread.server_name is not None:
            trace.note(f"server name {one_line(preread.server_name)}")
        if preread.tls is not None:
            trace.note(f"TLS handshake with the client is over: {preread.tls.version}, {preread.tls.cipher}")

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
        dialler, transport = self._dialler, side.transport
        if dialler.pool.tls is not None:
            version, cipher, _ = agreement(transport.getHandle())
            self.trace.note(f"TLS handshake with the backend is over: {version}, {cipher}")
        self.trace.note(f"connected from {address_text(transport.getHost())} in {dialler.connect_time:.6f} s")
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
        error = failure.value
        if self._reason is None and not isinstance(error, ConnectionDone):
            self.trace.note(f"the connection of the {self._name(side)} has failed: {one_line(str(error))}")
        super().lost(side, failure)

    def _name(self, side: Peer) -> str:
        return "client" if side is self.client else "backend"

    def _decide(self, reason: EndReason) -> None:
        if self._phase is PREREAD:
            self._note_preread()
        cause = f", {one_line(self.cause)}" if self.cause else ""
        self.trace.note(f"ends: {reason.word}{cause}")
        super()._decide(reason)

    def _leave(self, client_bytes: int, backend_bytes: int) -> None:
        self.trace.note(f"over: {client_bytes} bytes from the client, {backend_bytes} bytes from the backend")
        super()._leave(client_bytes, backend_bytes)


def _awaited(preread: PrereadSettings, peer: ClientAddress) -> str:
    """Name what a client has to send before a backend is chosen."""
    header = ["a PROXY header"] if preread.expects_header(peer) else []
    hello = ["a ClientHello"] if preread.routes is not None else []
    handshake = ["a TLS handshake"] if preread.tls is not None else []
    return " and ".join([*header, *hello, *handshake]) or "the worker that the client belongs to"


class TracedConnection(ClientConnection):
    """The client's side of such a session."""

    session_kind = TracedSession
