"""Which worker a client belongs to: decided by the kernel for each connection, and here for a client that a
PROXY header names.

Each worker has a listening socket of its own on each address, and a program of a few instructions, which the
kernel runs for each connection, gives the number of one of them from the client's address (socket(7),
``SO_ATTACH_REUSEPORT_CBPF``). So all connections of a client meet in one process, which can count them.

All clients of one IPv6 /64 have one owner, as one line in a queue and one count in the limits.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

SO_ATTACH_REUSEPORT_CBPF = 51
"""Of ``asm-generic/socket.h``; the socket module does not name it."""

SO_DETACH_REUSEPORT_BPF = 68
"""The same."""

MULTIPLIER = 0x9E3779B1
"""An odd number near 2**32 divided by the golden ratio, by which addresses are spread evenly that differ in a
few bits (Knuth, The Art of Computer Programming, volume 3, section 6.4). The remainder of the address itself
would send whole networks to one worker."""

_NETWORK_HEADER = 0xFFF00000
"""Where the IP header begins for a load: ``SKF_NET_OFF`` of ``linux/filter.h``."""

_IPV4_SOURCE, _IPV6_SOURCE = 12, 8
"""Where the source address is in the IP header: RFC 791, section 3.1, and RFC 8200, section 3."""

# Instructions of linux/bpf_common.h and linux/filter.h.
_LOAD_BYTE = 0x30
_LOAD_WORD = 0x20
_MULTIPLY = 0x24
_SHIFT_RIGHT = 0x74
_XOR_X = 0xAC
_A_TO_X = 0x07
_JUMP = 0x05
_JUMP_IF_EQUAL = 0x15
_RETURN_A = 0x16

_Instruction = tuple[int, int, int, int]


def owner(client: bytes, workers: int) -> int:
    """Give the worker that a client belongs to.

    :param client: its packed address: 4 bytes, or 16.
    :param workers: how many there are, 1 to 65535.
    :returns: the number of one of them, from 0.
    """
    if len(client) == 4:
        word = int.from_bytes(client)
    else:
        word = int.from_bytes(client[:4]) ^ int.from_bytes(client[4:8])
    mixed = word * MULTIPLIER & 0xFFFFFFFF
    return (mixed >> 16) * workers >> 16


def owners(clients: Sequence[bytes], workers: int) -> list[int]:
    """Give the owner of each of many clients: where all are of IPv4, in less time than by as many calls."""
    joined = b"".join(clients)
    if len(joined) != 4 * len(clients):
        return [owner(client, workers) for client in clients]
    words = struct.unpack(f"!{len(clients)}I", joined)
    return [((word * MULTIPLIER & 0xFFFFFFFF) >> 16) * workers >> 16 for word in words]


def program(workers: int) -> bytes:
    """Give the program by which the kernel finds what `owner` gives.

    :param workers: how many there are, 1 to 65535.
    :returns: instructions of the classic BPF, as ``struct sock_filter`` has them.
    """
    instructions: tuple[_Instruction, ...] = (
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_SHIFT_RIGHT, 0, 0, 4),
        (_JUMP_IF_EQUAL, 0, 2, 4),
        (_LOAD_WORD, 0, 0, _NETWORK_HEADER + _IPV4_SOURCE),
        (_JUMP, 0, 0, 4),
        (_LOAD_WORD, 0, 0, _NETWORK_HEADER + _IPV6_SOURCE),
        (_A_TO_X, 0, 0, 0),
        (_LOAD_WORD, 0, 0, _NETWORK_HEADER + _IPV6_SOURCE + 4),
        (_XOR_X, 0, 0, 0),
        (_MULTIPLY, 0, 0, MULTIPLIER),
        (_SHIFT_RIGHT, 0, 0, 16),
        (_MULTIPLY, 0, 0, workers),
        (_SHIFT_RIGHT, 0, 0, 16),
        (_RETURN_A, 0, 0, 0),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def attach(sock: socket.socket, workers: int) -> None:
    """Have the kernel choose by the client's address among the sockets that will listen on one address.

    Its number is the order in which they begin to listen. Until as many listen as there are workers, clients
    whose number is not there yet come to any of them.

    :param sock: the first of them, with ``SO_REUSEPORT``. It is to listen already: the kernel refuses that to
        one with a program while others are bound without it, or listen on an address that overlaps.
    :raises OSError: the system has no such programs.
    """
    instructions = program(workers)
    kept = ctypes.create_string_buffer(instructions, len(instructions))
    sock_fprog = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(kept))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, sock_fprog)


def detach(sock: socket.socket) -> None:
    """Have the kernel choose among the sockets by a hash of the connection again.

    :param sock: one of them.
    :raises OSError: they have no program.
    """
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
