"""Messages between processes of one machine: JSON of bounded length, one packet each, with descriptors.

The socket is a pair of ``SOCK_SEQPACKET`` (unix(7)): a message comes whole or not at all, and an end is seen.
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from tcpbalance.errors import TcpbalanceError

MAX_MESSAGE = 64 * 1024
"""Bytes of a message, a third of what a socket's buffer holds at least."""

MAX_PASSED = 253
"""With one message: ``SCM_MAX_FD`` of Linux."""

MAX_TEXT = 4000
"""Characters of a text in a message, such as a reason; JSON may make twelve bytes of one."""

_DESCRIPTOR_SIZE = array("i").itemsize


class MessageError(TcpbalanceError):
    """A message cannot be sent, or what has come is none."""


class Kept(int):
    """A descriptor that stays open for as long as this object is referred to, or its owner runs longer than
    all connections: what has to wait needs no copy of it.

    :param number: of the descriptor.
    :ivar owner: closes it when nothing refers to that any more.
    """

    owner: object = None

    @classmethod
    def of(cls, number: int, owner: object) -> Kept:
        """Refer to a descriptor and its owner."""
        one = cls(number)
        one.owner = owner
        return one


@frozen
class Message:
    """What was said.

    :param content: names and values.
    :param descriptors: those that came with it; the receiver's.
    """

    content: Mapping[str, Any]
    descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        """Close the descriptors, apart from those that others keep."""
        close_copies(self.descriptors)


def pair() -> tuple[socket.socket, socket.socket]:
    """Make both ends of a connection for messages.

    :raises OSError: the system has no more descriptors, or no such sockets.
    """
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def copies(descriptors: Iterable[int]) -> tuple[int, ...]:
    """Make copies of descriptors, apart from those that others keep.

    :raises OSError: this process has no more; none is made then.
    """
    made: list[int] = []
    try:
        # What was duplicated before one that fails is in it, too.
        made.extend(number if isinstance(number, Kept) else os.dup(number) for number in descriptors)
    except OSError:
        close_copies(made)
        raise
    return tuple(made)


def close_copies(descriptors: Iterable[int]) -> None:
    """Close descriptors, apart from those that others keep."""
    for number in descriptors:
        if not isinstance(number, Kept):
            os.close(number)


def send(sock: socket.socket, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
    """Send one message.

    :param descriptors: the receiver gets copies of them.
    :raises BlockingIOError: there is no space for it, and the socket does not wait.
    :raises OSError: the receiver is gone, or another error of the socket.
    :raises MessageError: it is too long.
    """
    send_encoded(sock, encode(content), descriptors)


def encode(content: Mapping[str, Any]) -> bytes:
    """Make the packet of a message.

    :raises MessageError: it is too long.
    """
    packet = json.dumps(content, separators=(",", ":")).encode()
    if len(packet) > MAX_MESSAGE:
        raise MessageError(f"a message of {len(packet)} bytes is too long, at most {MAX_MESSAGE} may be sent")
    return packet


def send_encoded(sock: socket.socket, packet: bytes, descriptors: Iterable[int]) -> None:
    """Send one packet of `encode`; see `send`."""
    socket.send_fds(sock, [packet], list(descriptors), socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> Message | None:
    """Receive one message.

    :returns: None at the end.
    :raises BlockingIOError: none has come, and the socket does not wait.
    :raises OSError: of the socket.
    :raises MessageError: what has come is no message, or some of its descriptors are lost, for want of free
        ones here; the others are closed.
    """
    try:
        packet, ancillary, flags, _ = _receive(sock)
    except ConnectionResetError:
        # It has not read all that it was sent. What it has said before it closed comes behind this.
        packet, ancillary, flags, _ = _receive(sock)
    if not packet:
        return None
    descriptors = array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) // _DESCRIPTOR_SIZE * _DESCRIPTOR_SIZE])
    try:
        return Message(_content(packet, flags), tuple(descriptors))
    except MessageError:
        for number in descriptors:
            os.close(number)
        raise


def _receive(sock: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
    # Not `socket.recv_fds`, which forgets its flags.
    space = socket.CMSG_LEN(MAX_PASSED * _DESCRIPTOR_SIZE)
    return sock.recvmsg(MAX_MESSAGE, space, socket.MSG_CMSG_CLOEXEC)


def _content(packet: bytes, flags: int) -> dict[str, Any]:
    if flags & socket.MSG_CTRUNC:
        raise MessageError(
            "descriptors that came with a message are lost, because this process may have no more: raise "
            "LimitNOFILE or `ulimit -n`"
        )
    if flags & socket.MSG_TRUNC:
        raise MessageError(f"a message is longer than {MAX_MESSAGE} bytes")
    try:
        content = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"what has come is no message: {packet[:60]!r}") from error
    if not isinstance(content, dict):
        raise MessageError(f"what has come is no message: {packet[:60]!r}")
    return content
