"""Clients of plain sockets, for what no ready-made program does."""

from __future__ import annotations

import socket

TIMEOUT = 20.0


def connect(port: int, source: str | None = None, receive_buffer: int | None = None) -> socket.socket:
    """Connect to a port on 127.0.0.1.

    :param source: the client's own address, any of 127.0.0.0/8.
    :param receive_buffer: bytes that the kernel may keep for us unread; None for its own choice.
    """
    sock = socket.socket()
    try:
        sock.settimeout(TIMEOUT)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Read until the peer has finished sending."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def read(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes, or to the end if that comes first."""
    data = b""
    while len(data) < size and (part := sock.recv(size - len(data))):
        data += part
    return data


def ask(port: int, question: bytes = b"", source: str | None = None, finish: bool = True) -> bytes:
    """Connect, send, finish sending unless told otherwise, and read all there is to read."""
    with connect(port, source) as sock:
        sock.sendall(question)
        if finish:
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def ask_unix(path: str, question: bytes = b"") -> bytes:
    """Do as `ask` over a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(path)
        sock.sendall(question)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def reset(sock: socket.socket) -> None:
    """Break a connection off: the peer gets a reset instead of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.close()
