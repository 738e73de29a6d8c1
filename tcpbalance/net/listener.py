"""Accepts connections: bound first, listening later, and shedding load when the process runs out of
descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from collections import Counter
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
from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.net.addresses import PeerAddress, peer_address, shown
from tcpbalance.net.data_path import DataPath, TwistedDataPath, begin
from tcpbalance.net.ends import NO_LINGER
from tcpbalance.net.faults import EXHAUSTED
from tcpbalance.net.socket_options import SocketOptionError, SocketOptions
from tcpbalance.rate_limited_log import RateLimitedLog

ACCEPTS_A_TURN = 8
"""Connections accepted in one wake-up, so that a flood of new ones leaves the open ones their turn."""

SHED_A_TURN = 512
"""Clients turned away in one go, before the next rest: each takes some 10 microseconds."""

COOLDOWN = 0.2
"""Seconds that accepting stops when the system has nothing left to accept with; the kernel's backlog waits
meanwhile."""


_log = Logger()


class ListenError(TcpbalanceError):
    """An address could not be listened on; the text names it and says what to do."""

    fault = Fault.CONFIGURATION


_ADVICE = {
    errno.EADDRINUSE: "address already in use: stop the program that holds it or choose another address",
    errno.EACCES: "permission denied: a port below 1024 needs root or CAP_NET_BIND_SERVICE, "
    "a socket file needs a folder that may be written",
    errno.EADDRNOTAVAIL: "address not on this machine: use one that `ip address` shows, "
    "or 0.0.0.0 or [::] for all",
    errno.ENOENT: "no such folder: make it first",
    errno.EEXIST: "what stands there is no socket: remove it or choose another path",
}


def _listen_error(address: object, error: OSError) -> ListenError:
    advice = _ADVICE.get(error.errno or 0) or (error.strerror or str(error)).lower()
    return ListenError(f"cannot listen on {address}: {advice}")


def bind(address: Address, options: SocketOptions) -> socket.socket:
    """Take an address without listening on it yet: connections are refused until ``Listener.startListening``.

    A socket file that nobody answers on, as a killed process leaves behind, is replaced.

    :param address: host and port, or the path of a unix socket.
    :param options: set before binding, so that the TCP window scale follows the buffers.
    :raises ListenError: the address cannot be had, or an option was refused.
    """
    try:
        family, target = _bind_target(address)
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(address, error) from error
    try:
        _bind(sock, target, options)
    except OSError as error:
        sock.close()
        raise _listen_error(address, error) from error
    except SocketOptionError as error:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {error}") from error
    return sock


def bind_all(address: Address, options: SocketOptions) -> list[socket.socket]:
    """Take an address as ``bind`` does; of a name, every address that it has and this machine has, too.

    The name is looked up by the system, blocking. With port 0, each address gets a free port of its own.

    :returns: at least one socket.
    :raises ListenError: none of the addresses can be had, or one is taken; no socket is held then.
    """
    if not address.is_name:
        return [bind(address, options)]
    socks: list[socket.socket] = []
    absent: list[ListenError] = []
    for own in _addresses_of(address):
        try:
            socks.append(bind(own, options))
        except ListenError as error:
            if not _is_absent(error):
                for sock in socks:
                    sock.close()
                raise ListenError(f"{address}: {error}") from error
            absent.append(error)
    if not socks:
        raise ListenError(f"{address}: {absent[0]}") from absent[0]
    for reason in absent:
        _log.warn(
            "{address}: {reason}; the other addresses of the name serve", address=address, reason=reason
        )
    return socks


def _addresses_of(name: Address) -> list[Address]:
    try:
        found = socket.getaddrinfo(name.host, name.port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        raise ListenError(f"cannot listen on {name}: the name could not be looked up: {error}") from error
    hosts = dict.fromkeys(_host_of(*place) for *_, place in found)
    return [Address(host=host, port=name.port) for host in hosts]


def _host_of(host: str | int, port: int, flow: int = 0, scope: int = 0) -> str:
    return f"{host}%{scope}" if scope else str(host)


def _is_absent(error: ListenError) -> bool:
    """Whether this machine lacks the address, or the whole family."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def _bind_target(address: Address) -> tuple[int, Any]:
    if address.path is not None:
        return socket.AF_UNIX, address.path
    info = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    return info[0][0], info[0][4]


def _bind(sock: socket.socket, target: Any, options: SocketOptions) -> None:
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        _remove_stale(target)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        # 0.0.0.0 and [::] on one port are two listeners of their own, whatever the system's default.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    options.prepare_listener(sock)
    sock.bind(target)


def _remove_stale(path: str) -> None:
    """Unlink a socket file whose listener is gone; that of a living one is left to ``bind`` to refuse.

    :raises FileExistsError: something else stands there.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if _nobody_listens(path):
            os.unlink(path)


def _nobody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _unlink_own(path: str, inode: tuple[int, int] | None) -> None:
    """Remove the socket file unless another process has put its own in that place.

    :raises OSError: it may not be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if inode == _inode(path):
            os.unlink(path)


def _inode(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


@implementer(IReadDescriptor, IListeningPort)
class Listener:
    """A listening socket that makes a protocol for each connection.

    :param reactor: times the rests (IReactorTime), and watches the socket where no road is given.
    :param sock: bound, as ``bind`` gives it; the listener owns it from here on.
    :param factory: ``buildProtocol`` answers None to refuse a client, who then sees a reset.
    :param backlog: connections that the kernel may hold ready.
    :param road: what the socket is watched by, and what carries those accepted; the portable one by default.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        factory: IProtocolFactory,
        backlog: int,
        data_path: DataPath | None = None,
    ) -> None:
        self._reactor = reactor
        self._data_path = data_path or TwistedDataPath(reactor)
        self._socket = sock
        self._factory = factory
        self._backlog = backlog
        self._family = sock.family
        self._protocol = sock.proto
        self._host = peer_address(sock.family, sock.getsockname())
        self._inode = _inode(sock.getsockname()) if sock.family == socket.AF_UNIX else None
        self._spare: int | None = None
        self._rest: IDelayedCall | None = None
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
        try:
            self._check_file()
            self._socket.listen(self._backlog)
        except OSError as error:
            raise _listen_error(self, error) from error
        self._started = True
        self._reserve()
        self._factory.doStart()
        if not self._paused:
            self._data_path.await_clients(self)

    def _check_file(self) -> None:
        """Notice that another process took our socket file for a dead one's before we listened.

        :raises OSError: it did.
        """
        if self._inode is not None and self._inode != _inode(self._socket.getsockname()):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    def stopListening(self) -> None:
        """Close the socket at once, listening or not; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._data_path.leave_clients(self)
        if self._rest is not None:
            self._rest.cancel()
        self._shed_log.flush()
        if self._spare is not None:
            os.close(self._spare)
        path = self._socket.getsockname()
        self._socket.close()
        if self._inode is not None:
            self._remove_file(path)
        if self._started:
            self._factory.doStop()

    def _remove_file(self, path: str) -> None:
        try:
            _unlink_own(path, self._inode)
        except OSError as error:
            self._log.warn(
                "socket file {path} is left behind: {reason}; "
                "its folder should belong to the user that tcpbalance runs as",
                path=path,
                reason=(error.strerror or "").lower(),
            )

    def pauseProducing(self) -> None:
        """Accept nobody for now: who comes waits in the kernel's backlog. As Twisted's own ports do it."""
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
        return self._started and not self._closed and self._rest is None

    def getHost(self) -> PeerAddress:
        """The address that clients connect to, with the port the kernel chose where 0 was asked for."""
        return self._host

    def __str__(self) -> str:
        return shown(self._host)

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
        """See ``switchboard.Handler``."""
        self.doRead()

    def on_teardown(self) -> None:
        """See ``switchboard.Handler``."""
        self.stopListening()

    def on_failure(self, failure: Failure) -> None:
        """See ``switchboard.Handler``; go on, but not so fast that the log is flooded."""
        if self._watched and not self._paused:
            self._rest_a_while()

    def doRead(self) -> None:
        """Accept what is waiting, within one turn's bound."""
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, peer = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._shed(error)
                    return
                # That client is gone already, or a firewall took it: accept(2), "Error handling".
                continue
            self._serve(sock, peer)
            if self._closed or self._paused:
                return

    def _accept(self) -> tuple[SocketType, Any]:
        """What ``socket.accept`` does, into the C type beneath: what Python adds to that takes as long as the
        system call."""
        number, peer = self._socket._accept()  # type: ignore[attr-defined]  # not in typeshed
        sock = SocketType(self._family, socket.SOCK_STREAM, self._protocol, number)
        sock.setblocking(False)
        return sock, peer

    def _serve(self, sock: SocketType, peer: Any) -> None:
        protocol = None
        try:
            address = peer_address(self._family, peer)
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
        if not self._somebody_waits():
            return
        shed = self._turn_away()
        self._rest_a_while()
        self._shed_log.note(None, error, shed)

    def _write_shed(self, shed: Counter[None], last: OSError) -> None:
        self._log.warn(
            "{listener}: {reason}: {shed} waiting connections reset; raise LimitNOFILE or `ulimit -n`",
            listener=self,
            reason=(last.strerror or "").lower(),
            shed=shed.total(),
        )

    def _somebody_waits(self) -> bool:
        """The system says that it has no descriptor before it looks whether there is anybody to accept."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def _turn_away(self) -> int:
        """Reset the clients that wait, or the first of them where there are very many; return how many."""
        if self._spare is None:
            return 0
        os.close(self._spare)
        self._spare = None
        shed = 0
        with contextlib.suppress(OSError):
            while shed < SHED_A_TURN:
                _reset(self._accept()[0])
                shed += 1
        self._reserve()
        return shed

    def _reserve(self) -> None:
        """Hold one descriptor back, to be given up for a moment when there is no other to accept with."""
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _rest_a_while(self) -> None:
        if not self._paused:
            self._data_path.leave_clients(self)
        self._rest = self._reactor.callLater(COOLDOWN, self._resume)

    def _resume(self) -> None:
        self._rest = None
        if self._spare is None:
            self._reserve()
        if not self._paused:
            self._data_path.await_clients(self)


def _reset(sock: SocketType) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    sock.close()
