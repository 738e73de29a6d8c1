"""Accepts connections: bound first, listening later, and shedding load when the process runs out of
descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections import Counter
from collections.abc import Callable
from socket import SocketType
from typing import Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.config.addresses import Address
from tcpbalance.net.addresses import ClientAddress, PeerAddress, address_text, peer_address
from tcpbalance.net.binding import (
    allow_beside,
    bind_target,
    inode_of,
    listen_error,
    overlaps,
    turn_new_clients_away,
    unlink_own,
)
from tcpbalance.net.data_path import DataPath, NativeDataPath, TwistedDataPath, begin
from tcpbalance.net.ends import reset_on_close
from tcpbalance.net.errnos import EXHAUSTED
from tcpbalance.net.socket_options import STREAM
from tcpbalance.net.spare_descriptor import SpareDescriptor
from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.stats import FrontendStats

ACCEPTS_A_TURN = 8
"""Connections accepted in one wake-up, so that a flood of new ones leaves the open ones their turn."""

SHED_A_TURN = 512
"""Clients turned away in one go, before the next pause: each takes some 10 microseconds."""

ACCEPT_AGAIN_AFTER = 0.2
"""Seconds that accepting stops when the system has nothing left to accept with; the kernel's backlog waits
meanwhile."""


@implementer(IReadDescriptor, IListeningPort)
class Listener:
    """A listening socket that makes a protocol for each connection.

    :param reactor: times the pauses (IReactorTime), and watches the socket where no data path is given.
    :param sock: bound, as ``bind`` gives it; the listener owns it from here on.
    :param factory: ``buildProtocol`` answers None to refuse a client, which then sees a reset.
    :param backlog: connections that the kernel may hold ready.
    :param data_path: watches the socket, and gives transports to those accepted; the portable one by default.
    :param stats: counts the clients that are reset for want of a descriptor; None where they are not read.
    :param is_own: whether no other process or listener goes on with the socket when this one stops: the file
        of a unix socket is removed then.
    :ivar family: of its address.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        factory: IProtocolFactory,
        backlog: int,
        data_path: DataPath | None = None,
        stats: FrontendStats | None = None,
        *,
        is_own: bool = True,
    ) -> None:
        self._reactor = reactor
        self._data_path = data_path or TwistedDataPath(reactor)
        self._socket = sock
        self._factory = factory
        self._backlog = backlog
        # What a factory of sessions has; other factories make protocols only.
        self._serve_bare: Callable[[SocketType, ClientAddress], bool] | None = None
        if isinstance(self._data_path, NativeDataPath):
            self._serve_bare = getattr(factory, "serve_bare", None)
        self._stats = stats or FrontendStats()
        self._accept: Callable[[], tuple[int, Any]] = sock._accept  # type: ignore[attr-defined]  # not in typeshed
        self.family = sock.family
        self._protocol = sock.proto
        self._host = peer_address(sock.family, sock.getsockname())
        self.is_own = is_own
        self._is_left = False
        self._inode = inode_of(sock.getsockname()) if is_own and sock.family == socket.AF_UNIX else None
        self._spare = SpareDescriptor()
        self._cooldown: IDelayedCall | None = None
        self._turn: IDelayedCall | None = None
        self._started = False
        self._closed = False
        self._paused = False
        self._shed_log = RateLimitedLog(self._write_shed, reactor.seconds, reactor)

    def startListening(self) -> None:
        """Let clients in; calling it again does nothing.

        :raises ListenError: another process listens on the address since it was bound.
        """
        if self._started:
            return
        self.listen()
        self._started = True
        self._spare.reserve()
        self._factory.doStart()
        if not self._paused:
            self._data_path.await_clients(self)

    def _check_file(self) -> None:
        """Notice that another process took our socket file for a dead one's before we listened.

        :raises OSError: it did.
        """
        if self._inode is not None and self._inode != inode_of(self._socket.getsockname()):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    def stopListening(self) -> None:
        """Close the socket at once, listening or not; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._data_path.leave_clients(self)
        for call in (self._cooldown, self._turn):
            if call is not None:
                call.cancel()
        self._shed_log.flush()
        self._spare.release()
        path = self._socket.getsockname()
        self._socket.close()
        if self._inode is not None:
            self._remove_file(path)
        if self._started:
            self._factory.doStop()

    def _remove_file(self, path: str) -> None:
        try:
            unlink_own(path, self._inode)
        except OSError as error:
            self._log.warn(
                "socket file {path} is left behind: {reason}; "
                "its folder should belong to the user that tcpbalance runs as",
                path=path,
                reason=(error.strerror or "").lower(),
            )

    @property
    def is_listening(self) -> bool:
        """Whether the kernel holds clients ready for it, paused or not, accepted or not."""
        return not self._closed and bool(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    @property
    def owns_file(self) -> bool:
        """Whether it is a unix socket whose file is removed when the listener stops."""
        return self._inode is not None

    def has_file(self) -> bool:
        """Whether the file of its unix socket is at its path, and not another one."""
        try:
            found = inode_of(self._socket.getsockname())
        except OSError:
            return False
        return self._inode in (None, found)

    def own_socket(self) -> None:
        """Know that no other process or listener goes on with the socket when this one stops.

        Where the file of a unix socket is gone, none is removed then.
        """
        self.is_own = True
        if self.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):
                self._inode = inode_of(self._socket.getsockname())

    def own_as(self, other: Listener) -> None:
        """Own the socket, and its file, as far as another listener does that has the same socket."""
        self.is_own = other.is_own
        self._inode = other._inode

    def leave_socket(self) -> None:
        """Leave the socket, with the clients that wait and its file, to another process or listener, which
        has the socket, too."""
        self.is_own = False
        self._is_left = True
        self._inode = None

    def listen(self) -> None:
        """Have the kernel hold clients ready, which are accepted from ``startListening`` on.

        :raises ListenError: another process listens on the address since it was bound.
        """
        try:
            self._check_file()
            self._socket.listen(self._backlog)
        except OSError as error:
            raise listen_error(self, error) from error

    @property
    def target(self) -> tuple[int, Any] | None:
        """What it listens on, as ``bind_target`` gives it; None once it is closed."""
        return None if self._closed else (self.family, self._socket.getsockname())

    def overlaps(self, address: Address) -> bool:
        """Whether it listens on all addresses, one of which is that address, or the other way round."""
        return not self._closed and overlaps(self._socket, address)

    def allow_beside(self, allowed: bool) -> None:
        """Allow that an address which overlaps its own is bound and listened on, or no longer."""
        allow_beside(self._socket, allowed)

    def listens_on(self, address: Address) -> bool:
        """Whether it is the listener of an address, which is no name."""
        family, target = bind_target(address)
        return not self._closed and self.family == family and self._socket.getsockname() == target

    def share_socket(self) -> socket.socket:
        """Give the socket for another listener: the clients that wait are the same, until both have closed
        it."""
        return self._socket.dup()

    def accept_waiting(self) -> None:
        """Accept the clients that wait, before the socket is closed: closing it would reset them.

        No new ones come to a socket that no other process or listener has. Those of a socket that was left to
        another one stay there.
        """
        if self._is_left:
            return
        if self.is_own:
            turn_new_clients_away(self._socket)
        for _ in range(self._backlog // ACCEPTS_A_TURN + 1):
            if not self._watched or self._paused or not self._has_waiting_client():
                return
            self.accept_some()

    def accept_from(self, sock: socket.socket) -> None:
        """Accept the clients that wait at another listening socket, before that is closed, as its own.

        :param sock: no new clients come to it.
        """
        turn_new_clients_away(sock)
        with contextlib.suppress(OSError):
            while self._watched and not self._paused:
                number, peer = self._accept_at(sock)
                self._serve(SocketType(sock.family, STREAM, sock.proto, number), peer)

    def _accept_at(self, sock: socket.socket) -> tuple[int, Any]:
        return sock._accept()  # type: ignore[attr-defined, no-any-return]  # not in typeshed

    def accept_now(self) -> None:
        """Accept the clients that wait, without waiting for an event."""
        if self._watched and not self._paused:
            self.accept_some()

    def set_backlog(self, backlog: int) -> None:
        """Let the kernel hold another number of connections ready from now on; those that it holds stay."""
        self._backlog = backlog
        if self._started and not self._closed:
            self._socket.listen(backlog)

    def pauseProducing(self) -> None:
        """Accept no clients for now: they wait in the kernel's backlog. As Twisted's own ports do it."""
        if not self._paused:
            self._paused = True
            if self._watched:
                self._data_path.leave_clients(self)

    def resumeProducing(self) -> None:
        """Accept again."""
        if self._paused:
            self._paused = False
            if self._watched:
                self._data_path.await_clients(self)

    @property
    def _watched(self) -> bool:
        """Whether clients are waited for, pauses aside."""
        return self._started and not self._closed and self._cooldown is None

    def getHost(self) -> PeerAddress:
        """The address that clients connect to, with the port the kernel chose where 0 was asked for."""
        return self._host

    def __str__(self) -> str:
        return address_text(self._host)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "listener"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down."""
        self.stopListening()

    def on_events(self, events: int) -> None:
        """See ``poller.Handler``."""
        self.accept_some()

    def on_teardown(self) -> None:
        """See ``poller.Handler``."""
        self.stopListening()

    def on_failure(self, failure: Failure) -> None:
        """See ``poller.Handler``; go on, but not so fast that the log is flooded."""
        if self._watched and not self._paused:
            self._cool_down()

    def doRead(self) -> None:
        """Twisted's call: clients wait, and are accepted in the next turn."""
        # A reactor has the events of a turn in a list, and looks for the owner of each when it comes to it.
        # A socket that is accepted meanwhile may have the number of one that was closed meanwhile, and would
        # get its hang-up.
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._accept_in_turn)

    def _accept_in_turn(self) -> None:
        self._turn = None
        self.accept_now()

    def accept_some(self) -> None:
        """Accept what is waiting, within one turn's bound."""
        accept = self._accept
        for _ in range(ACCEPTS_A_TURN):
            try:
                number, peer = accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._shed(error)
                    return
                # That client is gone already, or a firewall took it: accept(2), "Error handling".
                continue
            # Of the C type: what Python adds to it takes as long as ``accept``. Python believes of it that it
            # never waits; its descriptor does, so far.
            self._serve(SocketType(self.family, STREAM, self._protocol, number), peer)
            if self._closed or self._paused:
                return

    def _serve(self, sock: SocketType, peer: Any) -> None:
        protocol = None
        try:
            if self._serve_bare is not None and self._serve_bare(sock, ClientAddress(peer, sock.family)):
                return
            sock.setblocking(False)
            address = peer_address(sock.family, peer)
            protocol = self._factory.buildProtocol(address)
            if protocol is not None:
                begin(self._data_path, sock, protocol, address)
                return
        except Exception:
            failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            self._log.failure("a connection to {listener} could not be served", failure, listener=self)
            if protocol is not None:
                protocol.connectionLost(failure)
        _reset(sock)

    def _shed(self, error: OSError) -> None:
        """Answer waiting clients with a reset through the spare descriptor, and say so at most once a
        second."""
        if not self._has_waiting_client():
            return
        shed = self._turn_away()
        self._stats.connections_shed += shed
        self._cool_down()
        self._shed_log.note(None, error, shed)

    def _write_shed(self, shed: Counter[None], last: OSError) -> None:
        self._log.warn(
            "{listener}: {reason}: {shed} waiting connections reset; raise LimitNOFILE or `ulimit -n`",
            listener=self,
            reason=(last.strerror or "").lower(),
            shed=shed.total(),
        )

    def _has_waiting_client(self) -> bool:
        """The system says that it has no descriptor before it looks whether there is a client to accept."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def _turn_away(self) -> int:
        """Reset the clients that wait, or the first of them where there are very many; return how many."""
        if not self._spare.release():
            return 0
        shed = 0
        with contextlib.suppress(OSError):
            while shed < SHED_A_TURN:
                number, _ = self._accept()
                _reset(SocketType(self.family, STREAM, self._protocol, number))
                shed += 1
        self._spare.reserve()
        return shed

    def _cool_down(self) -> None:
        if not self._paused:
            self._data_path.leave_clients(self)
        self._cooldown = self._reactor.callLater(ACCEPT_AGAIN_AFTER, self._resume)

    def _resume(self) -> None:
        self._cooldown = None
        self._spare.reserve()
        if not self._paused:
            self._data_path.await_clients(self)


def _reset(sock: SocketType) -> None:
    reset_on_close(sock)
    sock.close()
