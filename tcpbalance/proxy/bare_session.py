"""A session as it begins on the native data path: two sockets, and nothing else made yet.

Most short connections carry one message each way and are closed in order. That much this object does itself:
the poller calls it, and it holds the sockets, the slot of the backend and its place on the wheel. Whatever
goes beyond that, such as a second message, a peer that takes bytes slowly, an error, a deadline, a retry or a
place in the queue, first has all made that a session has (``_equip``), and goes on there: it is a session
like any other from then on, see ``session``. Decisions follow the same table, in ``phases``.
"""

from __future__ import annotations

import socket
from collections.abc import Generator
from socket import SocketType
from typing import cast

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
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.dialler import GIVEN_UP, BackendConnection, Dialler
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
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.relay import join
from tcpbalance.proxy.session import Session

DO_NOT_WAIT = int(getattr(socket, "MSG_DONTWAIT", 0))
"""A flag of each call, which is cheaper than to have the socket of a client never wait."""

_INPUT = READABLE | END
_OUT_OF_THE_ORDINARY = ERROR | URGENT


class BareSession(Session):
    """A session that makes nothing before it needs it.

    :param context: of the frontend that it belongs to; it has a native data path.
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
        "_choices",
        "_client_bytes",
        "_client_ended",
        "_client_socket",
        "_client_waits",
        "_connect_time",
        "_held",
        "is_bare",
        "slot",
    )

    def __init__(
        self,
        context: SessionContext,
        sock: SocketType,
        address: ClientAddress,
        admitted: ClientAddress | None,
    ) -> None:
        super().__init__(context, address, admitted)
        assert context.native is not None
        # The wheel that it is on: the other one may stand still.
        self._wheel = context.native.wheel
        self.is_bare = True
        self._client_socket = sock
        self._backend_socket: SocketType | None = None
        self._held: Slot | None = None
        self._choices: Generator[Backend, None, None] | None = None
        self._client_bytes = self._backend_bytes = 0
        self._client_waits = self._client_ended = self._backend_ended = False
        self._attempt: Attempt | None = None
        self._connect_time: float | None = None
        self.slot: int | None = None

    def begin(self) -> None:
        """Dial the backend that comes first."""
        try:
            self._begin()
        except Exception:
            self._fail()

    def _begin(self) -> None:
        context, client = self._context, self._peer.packed
        native, pool = context.native, context.pool
        assert native is not None
        assert pool is not None
        self._pool = pool
        self._phase = DIALLING
        backend, self._choices = pool.choose(client)
        if backend is None:
            self._equip()
            self._dialler.go_on()
            return
        self._held = pool.take(backend, client)
        try:
            sock = self._backend_socket = native.open(backend.address)
            native.data_path.poller.watch(sock.fileno(), self.on_backend_events)
        except (ConnectFailed, OSError) as error:
            failure = ConnectFailed.from_error(error) if isinstance(error, OSError) else error
            if self._backend_socket is not None:
                self._backend_socket.close()
                self._backend_socket = None
            self._equip()
            self._dialler.clientConnectionFailed(None, Failure(failure))  # type: ignore[no-untyped-call]
            return
        first = min(pool.connect_timeout, pool.dial_timeout, context.look_every, self.aged_at - self._born)
        self._wheel.watch(self, first)

    # What happens at its sockets

    def on_client_events(self, events: int) -> None:
        """The poller's call: something has happened at the client's socket."""
        if events & _OUT_OF_THE_ORDINARY or (self._phase is DIALLING and events & END):
            self._equip()
            self._transport(of_client=True).on_events(events)
        elif self._phase is DIALLING:
            self._client_waits = self._client_waits or events & READABLE != 0
        elif events & _INPUT and not self._client_ended:
            self._carry(True, events)

    def on_backend_events(self, events: int) -> None:
        """The poller's call: something has happened at the backend's socket."""
        if self._phase is DIALLING:
            self._dialled(events)
        elif events & _OUT_OF_THE_ORDINARY:
            self._equip()
            self._transport(of_client=False).on_events(events)
        elif events & _INPUT and not self._backend_ended:
            self._carry(False, events)

    def _dialled(self, events: int) -> None:
        """The backend has accepted, or has not."""
        sock, held, pool, native = self._backend_socket, self._held, self._pool, self._context.native
        assert sock is not None
        assert held is not None
        assert pool is not None
        assert native is not None
        backend = held.backend
        if events & (_OUT_OF_THE_ORDINARY | HANG_UP) or native.has_reached_itself(sock, backend.address):
            self._equip()
            assert self._attempt is not None
            self._attempt.on_events(events)
            return
        self._connect_time = seconds = self._context.clock() - self._born
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
            self._introduce(pool, sock)
        # An edge is reported once: whatever is made meanwhile learns of both.
        if self._client_waits:
            self._read(True, READABLE)
        if events & _INPUT:
            self._read(False, events)

    def _read(self, of_client: bool, events: int) -> None:
        """Read at one of the two, the way it is read by now."""
        if self.is_bare:
            self._carry(of_client, events)
        else:
            self._transport(of_client).on_events(events)

    def _introduce(self, pool: Pool, backend: SocketType) -> None:
        """Send the PROXY header that the pool wants."""
        sock = self._client_socket
        host = peer_address(sock.family, sock.getsockname())
        header = self._outgoing_header = outgoing_proxy_header(pool, self._peer.twisted, host, None)
        if header is not None:
            # What follows at once travels in the same segment.
            self._send(backend, header.header, MORE if self._client_waits else 0)
            if not self._client_waits:
                set_no_delay(backend)

    def _carry(self, of_client: bool, events: int) -> None:  # noqa: C901 - one message in one call
        """Carry a message, the end behind it, or either.

        :param of_client: whether the client has sent it.
        :param events: what has happened at its socket.
        """
        assert self._backend_socket is not None
        if of_client:
            source, sink = self._client_socket, self._backend_socket
        else:
            source, sink = self._backend_socket, self._client_socket
        try:
            data = source.recv(CHUNK, DO_NOT_WAIT)
        except BlockingIOError:
            return
        except OSError:
            self._equip()
            self._transport(of_client).on_connection_error()
            return
        size = len(data)
        if not size:
            self._has_ended(of_client)
            return
        if size == CHUNK or (self._client_bytes if of_client else self._backend_bytes):
            self._equip()
            (self.client_sent if of_client else self.backend_sent)(data)
            self._transport(of_client).on_events(events)
            return
        if of_client:
            self._client_bytes = size
        else:
            self._backend_bytes = size
            assert self._held is not None
            self._held.answered()
        self.active = self._wheel.now
        ends = events & END
        if not self._send(sink, data, MORE if ends else 0):
            self._transport(of_client).on_events(events)
        elif source.family == socket.AF_UNIX:
            # A read stops where a message with descriptors does: unix(7).
            self._carry(of_client, events)
        elif ends:
            self._has_ended(of_client)

    def _send(self, sock: SocketType, data: bytes, flags: int) -> bool:
        """Send to one of the two.

        :returns: whether the kernel took all; if not, what a session has is made, and goes on with it.
        """
        of_client = sock is self._client_socket
        try:
            sent = sock.send(data, flags | DO_NOT_WAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._equip()
            self._transport(of_client).write_failed(error)
            return False
        if sent == len(data):
            return True
        self._equip()
        self._transport(of_client).write(data[sent:], flags)
        return False

    def _has_ended(self, of_client: bool) -> None:
        """One of the two has finished sending: pass that on, or close both if both have."""
        action = TABLE[self._phase, CLIENT_FINISHED if of_client else BACKEND_FINISHED]
        assert action is PASS_ON, f"{self._phase}: {action} when a peer has finished"
        self._note_end(of_client)
        self.active = self._wheel.now
        if of_client:
            self._client_ended, sock = True, self._backend_socket
        else:
            self._backend_ended, sock = True, self._client_socket
        assert sock is not None
        if self._client_ended and self._backend_ended:
            self._close_bare(self._closed_reason())
            return
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._equip()
            self._transport(not of_client).break_later(error)

    # What a session is asked

    @property
    def served_by(self) -> Backend | None:
        """See ``Session``."""
        if self.is_bare:
            return self._served_by if self._phase is RELAYING else None
        return super().served_by

    @property
    def buffered(self) -> int:
        """See ``Session``; while it is bare, the kernel alone holds some."""
        if not self.is_bare:
            return super().buffered
        native = self._context.native
        assert native is not None
        in_flight = native.data_path.in_flight
        behind = 0 if self._backend_socket is None else in_flight(self._backend_socket)
        return in_flight(self._client_socket) + behind

    def end(self, reason: EndReason) -> None:
        """See ``Session``."""
        if self.is_bare and self._phase is not OVER:
            self._equip()
        super().end(reason)

    def check(self, now: float) -> None:
        """The wheel's call: a deadline may have come."""
        self._equip()
        pool = self._pool
        if self._attempt is not None and pool is not None and now >= self._born + pool.connect_timeout:
            self._attempt.check(now)

    def on_failure(self, failure: Failure) -> None:
        """See ``wheel.Watched`` and ``poller.Handler``."""
        if self._phase is OVER:
            return
        if self.is_bare:
            self._reset_bare(EndReason.INTERNAL_ERROR)
        else:
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
        native, held = self._context.native, self._held
        assert native is not None
        for sock in (self._client_socket, self._backend_socket):
            if sock is not None:
                native.data_path.poller.forget(sock.fileno())
                sock.close()
        self._wheel.forget(self)
        if held is not None:
            held.release()
        self._leave(self._client_bytes, self._backend_bytes)

    def record(self, client_bytes: int, backend_bytes: int) -> SessionRecord:
        """See ``Session``."""
        if not self.is_bare:
            return super().record(client_bytes, backend_bytes)
        assert self._reason is not None
        assert self._held is not None
        now, outgoing = self._context.clock(), self._outgoing_header
        connected = self._connect_time is not None
        return SessionRecord(
            self._started,
            str(self._peer),
            self._context.name,
            None if self._served_by is None else self._served_by.name,
            1,
            0.0 if connected else now - self._born,
            self._connect_time,
            now - self._born,
            client_bytes,
            backend_bytes,
            self._reason,
            self._cause,
            unique_id=None if outgoing is None else outgoing.unique_id,
            failures=() if connected else ((self._held.backend.name, GIVEN_UP),),
        )

    # What it has no more need of then

    def _equip(self) -> None:
        """Make what a session has that goes on: its sides, their transports, the dialler and the deadlines.

        Nothing of that shows outside: bytes, ends, times and the attempt under way are taken along.
        """
        context, pool = self._context, self._pool
        native, sock = context.native, self._client_socket
        assert native is not None
        assert pool is not None
        self.is_bare = False
        sock.setblocking(False)
        self._wheel.forget(self)
        self._wheel = context.wheel
        client = self.client = ClientConnection(context, self._peer)
        client.session = self
        client.resume(
            native.data_path.transport(sock, client, self._peer.twisted),
            self._client_bytes,
            self._client_ended,
            self._backend_ended,
        )
        self._dialler = dialler = Dialler(pool, context.connector, self._peer.packed, context.clock, self)
        dialler.resume(self._held, self._choices, self._born)
        self._deadlines = Deadlines(self, context, self._born + pool.dial_timeout)
        if self._phase is RELAYING:
            self._equip_backend(client)
        elif self._phase is DIALLING:
            self._equip_dial(client)
        self._deadlines.look()
        if self._phase is DIALLING and self._client_waits:
            self._transport(True).on_events(READABLE)

    def _equip_backend(self, client: ClientConnection) -> None:
        held, sock, native = self._held, self._backend_socket, self._context.native
        assert held is not None
        assert sock is not None
        assert native is not None
        assert self._connect_time is not None
        self._dialler.connected(self._connect_time)
        self._dialler.dial.settle()
        backend = self.backend = BackendConnection(self)
        backend.resume(
            native.transport(sock, held.backend.address, backend),
            self._backend_bytes,
            self._backend_ended,
            self._client_ended,
        )
        join(client, backend)
        self._deadlines.connected()

    def _equip_dial(self, client: ClientConnection) -> None:
        held, pool, sock, native = self._held, self._pool, self._backend_socket, self._context.native
        assert pool is not None
        assert native is not None
        if pool.send_proxy_protocol is not None:
            self._outgoing_header = outgoing_proxy_header(
                pool, self._peer.twisted, client.transport.getHost(), None
            )
        if sock is not None and held is not None:
            left = max(0.0, self._born + pool.connect_timeout - self._context.clock())
            self._attempt = native.take_over(
                sock, held.backend.address, self._dialler, pool.connect_timeout, left
            )
            self._dialler.await_attempt(self._attempt)

    def _transport(self, of_client: bool) -> SocketTransport:
        """The transport of a side that was made here."""
        side = self.client if of_client else self.backend
        assert side is not None
        return cast(SocketTransport, side.transport)
