"""A session as it begins on the native data path: two sockets, and nothing else made yet.

Most short connections carry one message each way and are closed in order. That much this object does itself:
the poller calls it, and it holds the sockets, the slot of the backend and its place on the wheel. Whatever
goes beyond that, such as a second message, a peer that takes bytes slowly, an error, a deadline, a retry or a
place in the queue, first has all made that a session has (``_equip``), and goes on there: it is a session
like any other from then on, see ``session``. Decisions follow the same table, in ``phases``.

Each new connection passes here, so its usual way is written out for either side.
"""

from __future__ import annotations

import socket
from collections.abc import Generator
from socket import SHUT_WR, SocketType
from typing import cast

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from tcpbalance.net.addresses import ClientAddress, peer_address
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.net.connecting import Attempt
from tcpbalance.net.ends import reset_on_close
from tcpbalance.net.poller import END, ERROR, HANG_UP, READABLE, URGENT
from tcpbalance.net.pump import CHUNK, MORE
from tcpbalance.net.socket_options import set_no_delay
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.tcp_info import connect_time
from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.context import BareStart, SessionContext
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.dialler import GIVEN_UP, BackendConnection, Dialler
from tcpbalance.proxy.facts import STATES, SessionFacts
from tcpbalance.proxy.outgoing_proxy_header import outgoing_proxy_header
from tcpbalance.proxy.phases import (
    BACKEND_FINISHED,
    CLIENT_FINISHED,
    DIALLING,
    OVER,
    PASS_ON,
    RELAYING,
    TABLE,
)
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.relay import join
from tcpbalance.proxy.session import Session

DO_NOT_WAIT = int(getattr(socket, "MSG_DONTWAIT", 0))
"""A flag of each call, which is cheaper than to have the socket of a client never wait."""

_WITH_MORE = DO_NOT_WAIT | MORE
_UNIX = int(socket.AF_UNIX)

_INPUT = READABLE | END
_OUT_OF_THE_ORDINARY = ERROR | URGENT
_NO_ACCEPT = _OUT_OF_THE_ORDINARY | HANG_UP
NO_CLIENT = _OUT_OF_THE_ORDINARY | END
"""What is reported of a client that needs more than a bare session before it has a backend."""

# What `_client_finished` and `_backend_finished` do.
assert TABLE[RELAYING, CLIENT_FINISHED] is TABLE[RELAYING, BACKEND_FINISHED] is PASS_ON


class BareSession(Session):
    """A session that makes nothing before it needs it.

    :param context: of the frontend that it belongs to.
    :param start: of the same.
    :param sock: the client's, accepted; its calls wait for bytes, but for those with ``MSG_DONTWAIT``.
    :param address: where the client connects from.
    :param admitted: the address that was admitted; None without admission control.
    :ivar is_bare: whether it still holds its sockets itself.
    :ivar slot: see ``wheel.Watched``.
    """

    __slots__ = (
        "_attempt",
        "_backend_bytes",
        "_backend_ended",
        "_backend_socket",
        "_began",
        "_choices",
        "_client_bytes",
        "_client_ended",
        "_client_socket",
        "_client_waits",
        "_connect_time",
        "_facts",
        "_held",
        "_start",
        "is_bare",
        "slot",
    )

    def __init__(
        self,
        context: SessionContext,
        start: BareStart,
        sock: SocketType,
        address: ClientAddress,
        admitted: ClientAddress | None,
    ) -> None:
        # All that a session begins with, without what `_complete` adds.
        self._context = context
        self._wheel = start.wheel
        self._peer = address
        self.admitted = admitted
        self.dry_run_limits = ()
        self._phase = DIALLING
        self._pool = start.pool
        self._first_end = self._reason = self._served_by = self._outgoing_header = None
        self._born = self.active = born = context.clock()
        self.aged_at = born + context.age_limit()
        self._started = context.wall_clock()
        # What only a bare one has.
        self._start = start
        self.is_bare = True
        self._client_socket = sock
        self._backend_socket: SocketType | None = None
        self._held: Slot | None = None
        self._choices: Generator[Backend, None, None] | None = None
        self._client_bytes = self._backend_bytes = 0
        self._client_waits = self._client_ended = self._backend_ended = False
        self._began = born  # when it dials
        self._connect_time: float | None = None
        self._facts: TlsFacts | None = None  # of the client's handshake
        self.slot: int | None = None

    def begin(self) -> None:
        """Dial the backend that comes first."""
        start, client = self._start, self._peer.packed
        pool = start.pool
        try:
            backend, self._choices = pool.selection.choose(client)
            if backend is None:
                self._equip()
                self._dialler.go_on()
                return
            try:
                self._held = pool.take(backend, client)
            except NoCapacityError:
                self._equip()
                self._dialler.go_on_refused(backend, self._choices)
                return
            try:
                backend.stats.connect_attempts += 1
                sock = self._backend_socket = start.connector.open(backend.address)
                start.poller.watch_new(sock.fileno(), self.on_backend_events)
            except (ConnectFailed, OSError) as error:
                self._dial_failed(error)
                return
            after = pool.first_deadline
            due = self._began + (after if after < start.look_every else start.look_every)
            start.wheel.watch_until(self, due if due < self.aged_at else self.aged_at)
        except Exception:
            self._fail()

    def _dial_failed(self, error: Exception) -> None:
        """The first attempt has failed at once."""
        failure = ConnectFailed.from_error(error) if isinstance(error, OSError) else error
        if self._backend_socket is not None:
            self._backend_socket.close()
            self._backend_socket = None
        self._equip()
        self._dialler.clientConnectionFailed(None, Failure(failure))  # type: ignore[no-untyped-call]

    # What happens at its sockets

    def on_client_events(self, events: int) -> None:
        """The poller's call: something has happened at the client's socket."""
        if self._phase is RELAYING and not events & _OUT_OF_THE_ORDINARY:
            if events & _INPUT and not self._client_ended:
                self._read_client(events)
        elif self._phase is DIALLING and not events & NO_CLIENT:
            self._client_waits = self._client_waits or events & READABLE != 0
        else:
            self._go_on_with(True, events)

    def on_backend_events(self, events: int) -> None:
        """The poller's call: something has happened at the backend's socket."""
        if self._phase is DIALLING:
            self._dialled(events)
        elif events & _OUT_OF_THE_ORDINARY:
            self._go_on_with(False, events)
        elif events & _INPUT and not self._backend_ended:
            self._read_backend(events)

    def _dialled(self, events: int) -> None:  # noqa: C901 - all that an accept brings, in their order
        """The backend has accepted, or has not."""
        sock, held, start = self._backend_socket, self._held, self._start
        assert sock is not None
        assert held is not None
        backend, pool = held.backend, start.pool
        if events & _NO_ACCEPT or start.connector.has_reached_itself(sock, backend.address):
            self._equip()
            assert self._attempt is not None
            self._attempt.on_events(events)
            return
        self._connect_time = seconds = self._context.clock() - self._began
        self._phase = RELAYING
        self._served_by = backend
        self.active = self._wheel.now
        held.connected(seconds)
        if self._choices is not None:
            self._choices.close()
        if pool.judges_connect_times:
            took = connect_time(sock, seconds)
            if took is not None:
                held.took(took.seconds, took.noticeable)
        if pool.send_proxy_protocol is not None:
            self._introduce(sock)
        # An edge is reported once: whatever is made meanwhile learns of both.
        if self._client_waits:
            if self.is_bare:
                self._read_client(READABLE)
            else:
                self._transport(of_client=True).on_events(READABLE)
        if events & _INPUT:
            if self.is_bare:
                self._read_backend(events)
            else:
                self._transport(of_client=False).on_events(events)

    def _introduce(self, backend: SocketType) -> None:
        """Send the PROXY header that the pool wants."""
        sock = self._client_socket
        host = peer_address(sock.family, sock.getsockname())
        header = outgoing_proxy_header(self._start.pool, self._peer.twisted, host, self._make_preread())
        if header is None:
            return
        self._outgoing_header = header
        # What follows at once travels in the same segment.
        flags = MORE if self._client_waits else 0
        try:
            sent = backend.send(header.header, flags | DO_NOT_WAIT)
        except OSError as error:
            self._write_on(False, header.header, flags, error)
            return
        if sent != len(header.header):
            self._write_on(False, header.header[sent:], flags)
        elif not self._client_waits:
            set_no_delay(backend)

    def _read_client(self, events: int) -> None:  # noqa: C901 - one message in one call
        """Carry the client's message, the end behind it, or either.

        :param events: what has happened at its socket.
        """
        source, sink = self._client_socket, self._backend_socket
        assert sink is not None
        try:
            data = source.recv(CHUNK, DO_NOT_WAIT)
        except OSError as error:
            self._read_failed(True, error)
            return
        size = len(data)
        if not size:
            self._client_finished()
            return
        if self._client_bytes or size == CHUNK:
            self._equip()
            self.client_sent(data)
            self._transport(of_client=True).on_events(events)
            return
        self._client_bytes = size
        self.active = self._wheel.now
        ends = events & END
        try:
            sent = sink.send(data, _WITH_MORE if ends else DO_NOT_WAIT)
        except OSError as error:
            self._write_on(False, data, MORE if ends else 0, error)
        else:
            if sent != size:
                self._write_on(False, data[sent:], MORE if ends else 0)
        if not self.is_bare:
            self._transport(of_client=True).on_events(events)
        elif source.family == _UNIX:
            # A read stops where a message with descriptors does: unix(7).
            self._read_client(events)
        elif ends:
            self._client_finished()

    def _read_backend(self, events: int) -> None:  # noqa: C901 - one message in one call
        """The same for the backend's."""
        source, sink, held = self._backend_socket, self._client_socket, self._held
        assert source is not None
        assert held is not None
        try:
            data = source.recv(CHUNK, DO_NOT_WAIT)
        except OSError as error:
            self._read_failed(False, error)
            return
        size = len(data)
        if not size:
            self._backend_finished()
            return
        if self._backend_bytes or size == CHUNK:
            self._equip()
            self.backend_sent(data)
            self._transport(of_client=False).on_events(events)
            return
        self._backend_bytes = size
        held.answered()
        self.active = self._wheel.now
        ends = events & END
        try:
            sent = sink.send(data, _WITH_MORE if ends else DO_NOT_WAIT)
        except OSError as error:
            self._write_on(True, data, MORE if ends else 0, error)
        else:
            if sent != size:
                self._write_on(True, data[sent:], MORE if ends else 0)
        if not self.is_bare:
            self._transport(of_client=False).on_events(events)
        elif source.family == _UNIX:
            self._read_backend(events)
        elif ends:
            self._backend_finished()

    def _client_finished(self) -> None:
        """The client has finished sending: pass that on, or close both where the backend has, too."""
        self._client_ended = True
        self.active = self._wheel.now
        if self._backend_ended:
            self._close_bare(EndReason.BACKEND_CLOSED)
            return
        self._first_end = EndReason.CLIENT_CLOSED
        assert self._backend_socket is not None
        try:
            self._backend_socket.shutdown(SHUT_WR)
        except OSError as error:
            self._equip()
            self._transport(of_client=False).break_later(error)

    def _backend_finished(self) -> None:
        """The same for the backend."""
        self._backend_ended = True
        self.active = self._wheel.now
        if self._client_ended:
            self._close_bare(EndReason.CLIENT_CLOSED)
            return
        self._first_end = EndReason.BACKEND_CLOSED
        try:
            self._client_socket.shutdown(SHUT_WR)
        except OSError as error:
            self._equip()
            self._transport(of_client=True).break_later(error)

    # Where it has to go on with all that a session has

    def _go_on_with(self, of_client: bool, events: int) -> None:
        """Have the transport of one of the two deal with what has happened.

        :param of_client: whether it is the client's.
        """
        self._equip()
        self._transport(of_client).on_events(events)

    def _read_failed(self, of_client: bool, error: OSError) -> None:
        """A read has failed, or there is nothing to read."""
        if not isinstance(error, BlockingIOError):
            self._equip()
            self._transport(of_client).on_connection_error()

    def _write_on(self, to_client: bool, data: bytes, flags: int, error: OSError | None = None) -> None:
        """A write has failed, or the kernel has not taken all.

        :param data: what is left.
        :param error: why it has failed; that the kernel has no space is none.
        """
        self._equip()
        if error is None or isinstance(error, BlockingIOError):
            self._transport(to_client).write(data, flags)
        else:
            self._transport(to_client).write_failed(error)

    # What a session is asked

    @property
    def served_by(self) -> Backend | None:
        """See ``Session``."""
        if self.is_bare:
            return self._served_by if self._phase is RELAYING else None
        return super().served_by

    @property
    def cause(self) -> str:
        """See ``Session``."""
        return "" if self.is_bare else super().cause

    @property
    def buffered(self) -> int:
        """See ``Session``; while it is bare, the kernel alone holds some."""
        if not self.is_bare:
            return super().buffered
        in_flight = self._start.connector.data_path.in_flight
        behind = 0 if self._backend_socket is None else in_flight(self._backend_socket)
        return in_flight(self._client_socket) + behind

    def can_move(self, idle_for: float) -> bool:
        """See ``Session``."""
        if not self.is_bare:
            return super().can_move(idle_for)
        backend, held = self._backend_socket, self._held
        return (
            self._phase is RELAYING
            and self._first_end is None
            and (self._backend_bytes > 0 or not self._client_bytes)
            and self._wheel.now - self.active >= idle_for + RESOLUTION
            and held is not None
            and backend is not None
            and not held.is_bound
            and not self.buffered
            and not self._client_has_input()
            and not self._start.connector.data_path.has_input(backend)
        )

    def _client_has_input(self) -> bool:
        """Whether something has come from the client that was not read."""
        return self._start.connector.data_path.has_input(self._client_socket)

    @property
    def carried(self) -> tuple[int, int]:
        """See ``Session``."""
        return (self._client_bytes, self._backend_bytes) if self.is_bare else super().carried

    def facts(self) -> SessionFacts:
        """See ``Session``."""
        if not self.is_bare:
            return super().facts()
        context, served_by, pool, tls = self._context, self.served_by, self._pool, self._facts
        now = context.clock()
        return SessionFacts(
            self._started,
            self._peer,
            None,
            context.name,
            None if pool is None else pool.name,
            None if served_by is None else served_by.name,
            STATES[self._phase],
            now - self._born,
            now - max(self.active, self._born),
            self._client_bytes,
            self._backend_bytes,
            None if tls is None else tls.server_name,
            tls,
        )

    @property
    def _host(self) -> IAddress:
        """See ``Session``."""
        if not self.is_bare:
            return super()._host
        sock = self._client_socket
        return peer_address(sock.family, sock.getsockname())

    def end(self, reason: EndReason) -> None:
        """See ``Session``."""
        if self.is_bare and self._phase is not OVER:
            if reason is EndReason.INTERNAL_ERROR:
                # It may be ``_equip`` that has failed.
                self._reset_bare(reason)
                return
            self._equip()
        super().end(reason)

    def check(self, now: float) -> None:
        """The wheel's call: a deadline may have come."""
        self._equip()
        if self._attempt is not None and now >= self._began + self._start.pool.connect_timeout:
            self._attempt.check(now)

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched`` and ``poller.Handler``."""
        self.end(EndReason.INTERNAL_ERROR)

    def on_teardown(self) -> None:
        """See ``poller.Handler``."""
        connected = self._phase is RELAYING
        self._reset_bare(EndReason.BACKEND_RESET if connected else EndReason.CLIENT_RESET)

    # The end of a bare session

    def _reset_bare(self, reason: EndReason) -> None:
        for sock in (self._client_socket, self._backend_socket):
            if sock is not None:
                reset_on_close(sock)
        self._close_bare(reason)

    def _close_bare(self, reason: EndReason) -> None:
        """Close both sockets, give back all that was taken, and have the session recorded."""
        self._reason = reason
        forget = self._start.poller.forget
        client, backend, held = self._client_socket, self._backend_socket, self._held
        forget(client.fileno())
        client.close()
        if backend is not None:
            forget(backend.fileno())
            backend.close()
        self._wheel.forget(self)
        if held is not None:
            held.release()
        self._leave(self._client_bytes, self._backend_bytes)

    def record(self, client_bytes: int, backend_bytes: int) -> SessionRecord:
        """See ``Session``."""
        if not self.is_bare:
            return super().record(client_bytes, backend_bytes)
        assert self._reason is not None
        context, outgoing, connect = self._context, self._outgoing_header, self._connect_time
        held, facts = self._held, self._facts
        total = context.clock() - self._born
        return SessionRecord(
            self._started,
            str(self._peer),
            context.name,
            None if self._served_by is None else self._served_by.name,
            0 if held is None else 1,
            total if connect is None else self._began - self._born,
            connect,
            total,
            client_bytes,
            backend_bytes,
            self._reason,
            "",
            None,
            None if facts is None else facts.server_name,
            None if outgoing is None else outgoing.unique_id,
            facts,
            ((held.backend.name, GIVEN_UP),) if connect is None and held is not None else (),
        )

    # What it has no more need of then

    def _equip(self) -> None:
        """Make what a session has that goes on: its sides, their transports, the dialler and the deadlines.

        Nothing of that shows outside: bytes, ends, times and the attempt under way are taken along.
        """
        context, pool = self._context, self._start.pool
        client = self._equip_client()
        self._dialler = dialler = Dialler(pool, context.connector, self._peer.packed, context.clock, self)
        dialler.resume(self._held, self._choices, self._began)
        self._deadlines = Deadlines(self, context, self._began + pool.dial_timeout)
        # Until here, it could be closed as one that is bare.
        self.is_bare = False
        if self._phase is RELAYING:
            self._equip_backend(client)
        elif self._phase is DIALLING:
            self._equip_dial(client)
        self._deadlines.look()
        if self._phase is DIALLING and self._client_waits:
            # In the next turn: what comes may end the session, and the caller is to go on with it first.
            self._transport(of_client=True).input.read_on()

    def _equip_client(self) -> ClientConnection:
        """Make the client's side, and what does not depend on the phase."""
        context, start = self._context, self._start
        self._attempt: Attempt | None = None
        self._wheel.forget(self)
        self._wheel = context.wheel
        self._complete()
        self._preread = self._make_preread()
        client = self.client = ClientConnection(context, self._peer)
        client.session = self
        client.resume(
            self._make_client_transport(client), self._client_bytes, self._client_ended, self._backend_ended
        )
        start.poller.watch_writes(self._client_socket.fileno())
        return client

    def _make_client_transport(self, client: ClientConnection) -> SocketTransport:
        sock = self._client_socket
        sock.setblocking(False)
        return self._start.connector.data_path.transport(sock, client, self._peer.twisted)

    def _make_preread(self) -> Preread | None:
        """Give what is known of the client from what it has sent first; None where that was nothing."""
        return None

    def _equip_backend(self, client: ClientConnection) -> None:
        held, sock = self._held, self._backend_socket
        assert held is not None
        assert sock is not None
        assert self._connect_time is not None
        self._dialler.connected(self._connect_time)
        self._dialler.dial.settle()
        backend = self.backend = BackendConnection(self)
        backend.resume(
            self._start.connector.transport(sock, held.backend.address, backend),
            self._backend_bytes,
            self._backend_ended,
            self._client_ended,
        )
        join(client, backend)
        self._deadlines.connected()

    def _equip_dial(self, client: ClientConnection) -> None:
        held, pool, sock = self._held, self._start.pool, self._backend_socket
        if pool.send_proxy_protocol is not None:
            self._outgoing_header = outgoing_proxy_header(
                pool, self._peer.twisted, client.transport.getHost(), self._preread
            )
        if sock is not None and held is not None:
            left = max(0.0, self._began + pool.connect_timeout - self._context.clock())
            self._attempt = self._start.connector.take_over(
                sock, held.backend.address, self._dialler, pool.connect_timeout, left
            )
            self._dialler.await_attempt(self._attempt)

    def _transport(self, of_client: bool) -> SocketTransport:
        """The transport of a side that was made here."""
        side = self.client if of_client else self.backend
        assert side is not None
        return cast(SocketTransport, side.transport)
