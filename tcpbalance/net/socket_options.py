"""The window, segment and liveness settings of sockets, from the names operators write to the numbers the
kernel takes."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import attrs
from attrs import field, frozen

from tcpbalance.config.frontends import SocketConfig
from tcpbalance.errors import Fault, TcpbalanceError

STREAM = int(socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0))
"""The type of a stream socket that does not block, where the system takes both in one call."""

KEEPALIVE_PROBES = 3
"""Unanswered keepalive probes after which the peer is dead; with probes every third of the quiet time, a
peer that vanished is found out after twice the ``keepalive`` that was asked for, where Linux's own defaults
take eleven minutes."""


UNLIMITED = 65535 << 14
"""A window clamp above any window, as a new socket has none: TCP_WINDOW_CLAMP of 0 is refused while the
socket listens."""

_BUF_LOCK = 72
"""``SO_BUF_LOCK`` of Linux 5.14, which Python has no name for: which buffers the system does not size."""

_BUFFER_LOCKS = {socket.SO_SNDBUF: 1, socket.SO_RCVBUF: 2}

_CONGESTION_NAME = 16
"""Bytes that the name of a congestion control has at most."""


class SocketOptionError(TcpbalanceError):
    """The system refused a socket option; the text names the key, the value and the system's reason."""

    fault = Fault.CONFIGURATION


@frozen
class Option:
    """One ``setsockopt`` call and the configuration key it comes from."""

    key: str
    level: int
    name: int
    value: int | bytes


NO_DELAY = Option("no delay", socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""A small write is not held back until what was sent before is acknowledged."""


@frozen
class SocketOptions:
    """What to set on a listener before ``listen`` and on a backend's socket before ``connect``.

    :param listener: for TCP listeners; accepted sockets inherit them.
    :param dial: for TCP connections to backends.
    :param unix: for unix sockets, which know buffers only.
    :ivar bare: those of a dial but for ``NO_DELAY``, which nothing needs before a second write.
    """

    listener: tuple[Option, ...]
    dial: tuple[Option, ...]
    unix: tuple[Option, ...]
    bare: tuple[Option, ...] = field(init=False)

    @bare.default
    def _dial_without_no_delay(self) -> tuple[Option, ...]:
        return tuple(option for option in self.dial if option is not NO_DELAY)

    @classmethod
    def of(cls, config: SocketConfig) -> SocketOptions:
        """Work out the options once, so that a dial only has to walk a tuple."""
        buffers = tuple(_buffers(config))
        tcp = (*buffers, NO_DELAY, *_tcp(config))
        return cls(listener=(*tcp, *_fast_open(config)), dial=tcp, unix=buffers)

    def prepare_listener(self, sock: socket.socket) -> None:
        """Set what belongs on a listening socket.

        :raises SocketOptionError: the system refused one.
        """
        _set(sock, self._for_listener(sock))

    def change_listener(self, sock: socket.socket, before: SocketOptions) -> None:
        """Set them on a socket that listens already; connections that begin from then on inherit them.

        The options that it had, and is to have no more, become those of a new socket.

        :param before: what was set on it.
        :raises SocketOptionError: the system refused one.
        """
        own = self._for_listener(sock)
        kept = {(option.level, option.name) for option in own}
        with socket.socket(sock.family) as new:
            for option in before._for_listener(sock):
                if (option.level, option.name) not in kept:
                    _unset(sock, option, new)
        _set(sock, own)

    def _for_listener(self, sock: socket.socket) -> tuple[Option, ...]:
        return self.unix if sock.family == socket.AF_UNIX else self.listener

    def prepare_dial(self, sock: socket.SocketType, family: int) -> None:
        """Set what belongs on a socket that is to be connected to a backend.

        :param family: the socket's, which to ask it for takes longer than to set an option.
        :raises SocketOptionError: the system refused one.
        """
        _set(sock, self.unix if family == socket.AF_UNIX else self.dial)

    def prepare_bare_dial(self, sock: socket.SocketType, family: int) -> None:
        """Set what belongs on it before the first write; `set_no_delay` is called before a second.

        :raises SocketOptionError: the system refused one.
        """
        options = self.unix if family == socket.AF_UNIX else self.bare
        if options:
            _set(sock, options)


def set_no_delay(sock: socket.SocketType) -> None:
    """Have the following writes sent at once, where the socket is one of TCP."""
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(NO_DELAY.level, NO_DELAY.name, NO_DELAY.value)


def _buffers(config: SocketConfig) -> Iterator[Option]:
    if config.receive_buffer is not None:
        yield Option("receive_buffer", socket.SOL_SOCKET, socket.SO_RCVBUF, int(config.receive_buffer))
    if config.send_buffer is not None:
        yield Option("send_buffer", socket.SOL_SOCKET, socket.SO_SNDBUF, int(config.send_buffer))


def _tcp(config: SocketConfig) -> Iterator[Option]:
    tcp = socket.IPPROTO_TCP
    if config.max_segment is not None:
        yield Option("max_segment", tcp, socket.TCP_MAXSEG, config.max_segment)
    if config.window_clamp is not None:
        yield Option("window_clamp", tcp, socket.TCP_WINDOW_CLAMP, int(config.window_clamp))
    if config.keepalive is not None:
        quiet = max(1, round(config.keepalive))
        yield Option("keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        yield Option("keepalive", tcp, socket.TCP_KEEPIDLE, quiet)
        yield Option("keepalive", tcp, socket.TCP_KEEPINTVL, max(1, quiet // KEEPALIVE_PROBES))
        yield Option("keepalive", tcp, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    if config.user_timeout is not None:
        yield Option("user_timeout", tcp, socket.TCP_USER_TIMEOUT, round(config.user_timeout * 1000))
    if config.congestion is not None:
        yield Option("congestion", tcp, socket.TCP_CONGESTION, config.congestion.encode())


def _fast_open(config: SocketConfig) -> Iterator[Option]:
    # Listeners only. Towards a backend, TCP_FASTOPEN_CONNECT holds the SYN back until the first byte is
    # written: a protocol in which the server speaks first would hang, and a dead backend would look
    # connected, so that no retry could help.
    if config.fast_open is not None:
        yield Option("fast_open", socket.IPPROTO_TCP, socket.TCP_FASTOPEN, config.fast_open)


def _set(sock: socket.SocketType, options: tuple[Option, ...]) -> None:
    for option in options:
        try:
            sock.setsockopt(option.level, option.name, option.value)
        except OSError as error:
            raise SocketOptionError(f"socket.{option.key}: {_refusal(option, error)}") from error


def _unset(sock: socket.socket, option: Option, new: socket.socket) -> None:
    """Give an option the value that it has on a new socket.

    :raises SocketOptionError: the system refuses it.
    """
    _set(sock, (attrs.evolve(option, value=_value_of_new(option, new)),))
    if option.name in _BUFFER_LOCKS and option.level == socket.SOL_SOCKET:
        # Older kernels keep the buffer at the size that a new socket has in the beginning.
        with contextlib.suppress(OSError):
            locked = sock.getsockopt(socket.SOL_SOCKET, _BUF_LOCK)
            sock.setsockopt(socket.SOL_SOCKET, _BUF_LOCK, locked & ~_BUFFER_LOCKS[option.name])


def _value_of_new(option: Option, new: socket.socket) -> int | bytes:
    match option.key:
        case "max_segment":
            return 0  # What is read of a new socket is a guess.
        case "window_clamp":
            return UNLIMITED
        case "congestion":
            return new.getsockopt(option.level, option.name, _CONGESTION_NAME).rstrip(b"\0")
        case "receive_buffer" | "send_buffer":
            # Linux doubles what is asked for: socket(7).
            return new.getsockopt(option.level, option.name) // 2
    return new.getsockopt(option.level, option.name)


def _refusal(option: Option, error: OSError) -> str:
    shown = option.value.decode() if isinstance(option.value, bytes) else option.value
    if option.key == "congestion" and error.errno == errno.ENOENT:
        return (
            f"the system has no congestion control {shown}; choose one that "
            "`sysctl net.ipv4.tcp_available_congestion_control` lists, or leave it out"
        )
    return f"the system refuses {shown}: {error.strerror}; choose another value or leave it out"


def shrunk_buffers(sock: socket.socket, config: SocketConfig) -> Iterator[str]:
    """List which buffers the system made smaller than asked for, which it does without an error.

    :param sock: a socket with its options set.
    :returns: a sentence for each, with what to do.
    """
    limits = {"receive_buffer": ("rmem_max", socket.SO_RCVBUF), "send_buffer": ("wmem_max", socket.SO_SNDBUF)}
    for key, (sysctl, name) in limits.items():
        asked = getattr(config, key)
        # Linux doubles what is asked for to have space for its own bookkeeping: socket(7).
        got = sock.getsockopt(socket.SOL_SOCKET, name) // 2
        if asked is not None and got < asked:
            yield f"socket.{key} is {got} bytes, not {int(asked)}: raise sysctl net.core.{sysctl} to get it"
