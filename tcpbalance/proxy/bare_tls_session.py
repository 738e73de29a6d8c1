"""A session as it begins on the native data path where its client speaks TLS: a socket, and OpenSSL's end.

It makes the handshake, and then is a bare session like any other, whose client's bytes pass through OpenSSL;
see ``bare_session``. Here, too, whatever goes beyond the usual first has all made that a session has: a
handshake that fails, or an answer that the client's socket does not take.
"""

from __future__ import annotations

import contextlib
from socket import AF_UNIX, SHUT_WR, SocketType
from typing import cast

from OpenSSL import SSL

from tcpbalance.net.poller import END, READABLE
from tcpbalance.net.pump import MORE
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.tls.errors import HandshakeFailed
from tcpbalance.net.tls.facts import facts_of
from tcpbalance.net.tls.openssl import was_resumed
from tcpbalance.net.tls.tls_socket import MORE_TO_READ, TlsSocket
from tcpbalance.proxy.bare_session import NO_CLIENT, BareSession
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.phases import DIALLING, OVER, PREREAD
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.reasons import EndReason


class BareTlsSession(BareSession):
    """A ``BareSession`` of a frontend that has nothing but ``tls`` in its preread.

    For the parameters see there.
    """

    __slots__ = ("_tls",)

    def begin(self) -> None:
        """Await the client's first step, for as long as the preread may take."""
        settings, sock = self._context.preread, self._client_socket
        assert settings is not None
        assert settings.tls is not None
        self._phase = PREREAD
        self._pool = None
        try:
            sock.setblocking(False)
            self._tls = tls = TlsSocket(settings.tls.connection(), sock)
            self._client_socket = cast(SocketType, tls)  # the part of it that is used here
            self._start.wheel.watch_until(self, self._born + settings.timeout)
        except Exception:
            self._fail()

    # The handshake

    def on_client_events(self, events: int) -> None:
        """The poller's call: something has happened at the client's socket."""
        if self._phase is PREREAD and not events & NO_CLIENT:
            if events & READABLE:
                self._shake_hands()
            return
        self._tls.all_came = False
        if self._phase is DIALLING and events & READABLE and not events & NO_CLIENT:
            # It may be an alert, which only OpenSSL can see.
            self._read_ahead()
            return
        BareSession.on_client_events(self, events)

    def _read_ahead(self) -> None:
        """Read the client's request before there is a backend; all else is more than it is here."""
        tls = self._tls
        if not self._client_waits and tls.read_ahead():
            self._client_waits = True
            return
        if self._client_waits:
            # Behind the request, which is read first.
            tls.pending = tls.pending or MORE_TO_READ
        self._go_on_with(True, READABLE)

    def _shake_hands(self) -> None:
        """Go on with the handshake."""
        tls = self._tls
        try:
            more = tls.do_handshake(at_the_end=tls.family == AF_UNIX)
        except SSL.Error as error:
            self._equip()
            layer = self._transport(of_client=True).tls
            assert layer is not None
            layer.fail(error)
            return
        if more is not None:
            self._client_waits = more
            self._established()
        if tls.pending is not None:
            self._go_on_with_tls()

    def _established(self) -> None:
        """The handshake is over: dial, or have what makes that more than it is here dealt with."""
        context, pool, tls = self._context, self._start.pool, self._tls
        try:
            self._facts = facts_of(tls.connection, context.wall_clock())
        except HandshakeFailed:
            pass
        else:
            if pool.is_plain:
                resumed = was_resumed(tls.connection)
                context.registry.stats.note_handshake(self._facts.version, resumed)
                self._wheel.forget(self)
                self._phase = DIALLING
                self._pool = pool
                self._began = self.active = context.clock()
                super().begin()
                if self._client_waits and not tls.has_request and self.is_bare and self._phase is DIALLING:
                    self._equip()
                return
            self._facts = None
        self._equip()
        self.tls_established()
        if self._client_waits:
            self._transport(of_client=True).on_events(READABLE)

    def _go_on_with_tls(self) -> None:
        """The last step, or read, has left something to be done that is the transport's."""
        if self.is_bare:
            if self._phase is OVER:
                return
            self._equip()
        layer = self._transport(of_client=True).tls
        if layer is not None:
            layer.go_on()

    # What is different with TLS

    def _read_client(self, events: int) -> None:
        """See ``BareSession``: an end of the stream is read, because a close_notify may be before it."""
        BareSession._read_client(self, events & ~END)
        if self._tls.pending is not None:
            self._go_on_with_tls()
        if not events & END or self._client_ended:
            return
        if self.is_bare:
            self._read_client(events)
        else:
            self._transport(of_client=True).on_events(events)

    def _read_backend(self, events: int) -> None:
        """See ``BareSession``: what the client's socket does not take, is encrypted and kept there."""
        BareSession._read_backend(self, events)
        if self._tls.unsent and self.is_bare and self._phase is not OVER:
            self._equip()

    def _backend_finished(self) -> None:
        """See ``BareSession``: a close_notify comes before the end."""
        tls = self._tls
        if tls.unsent:
            # The answer before it waits for space.
            self._end_not_passed_on(BlockingIOError())
            return
        if self._client_ended:
            with contextlib.suppress(OSError):
                tls.send_close_notify(MORE)
            self._backend_ended = True
            self._close_bare(EndReason.CLIENT_CLOSED)
            return
        try:
            tls.send_close_notify(MORE)
            tls.shutdown(SHUT_WR)
        except OSError as error:
            self._end_not_passed_on(error)
            return
        self._backend_ended = True
        self.active = self._wheel.now
        self._first_end = EndReason.BACKEND_CLOSED

    def _end_not_passed_on(self, error: OSError) -> None:
        """The close_notify, or the end behind it, has not gone out."""
        if self._tls.has_said_all or isinstance(error, BlockingIOError):
            # The backend's end is read again, and what is left of ours is sent again.
            self._equip()
            self._transport(of_client=False).on_events(READABLE | END)
            return
        self._backend_ended = True
        self.active = self._wheel.now
        self._first_end = EndReason.BACKEND_CLOSED
        self._equip()
        self.client.write_closed = False
        self._transport(of_client=True).break_later(error)

    @property
    def buffered(self) -> int:
        """See ``Session``; while it is bare, what has come with the end of the handshake may be held, too."""
        return super().buffered + (self._tls.kept if self.is_bare else 0)

    def _client_has_input(self) -> bool:
        """See ``BareSession``."""
        return self._tls.has_input

    # What it has no more need of then

    def _equip(self) -> None:
        """See ``BareSession``: with a handshake under way, there is a preread and no dial."""
        if self._phase is not PREREAD:
            super()._equip()
            return
        self._equip_client()
        preread, context = self._preread, self._context
        assert preread is not None
        assert context.preread is not None
        self.is_bare = False
        preread.resume(max(0.0, self._born + context.preread.timeout - context.clock()))

    def _make_preread(self) -> Preread:
        """See ``BareSession``."""
        context, facts = self._context, self._facts
        assert context.preread is not None
        preread = Preread(self, context, context.preread, self._peer)
        if facts is not None:
            preread.tls = facts
            preread.stop()
        return preread

    def _make_client_transport(self, client: ClientConnection) -> SocketTransport:
        """See ``BareSession``."""
        tls, data_path = self._tls, self._start.connector.data_path
        transport = data_path.transport(self._client_socket, client, self._peer.twisted)
        transport.speak_tls(tls)
        tls.all_came = False
        return transport
