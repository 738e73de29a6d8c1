"""Bulk on the native data path arrives whole, whatever pipes, splice(2) and urgent bytes do."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from support import bulk, peers
from support.bare import whole
from support.clients import TIMEOUT, connect, read, read_all, reset
from support.native import NativeCase
from support.sockets import until
from support.waiting import until_steady
from tcpbalance import EndReason
from tcpbalance.net.splice import KernelPipe, Pipe

reactor: Any = global_reactor

MIB = 1 << 20


class PipeTests(NativeCase):
    """Bulk goes on, whatever becomes of the pipes: 16 MiB each way at once, compared by their hashes."""

    async def exchange(self, port: int, server: socket.socket, size: int = 16 * MIB) -> None:
        there = deferToThread(_exchange_one, server, size)
        with connect(port) as client:
            at_client = await deferToThread(bulk.exchange, client, size)
        at_server = await there
        assert at_client["bytes"] == at_server["bytes"] == size
        assert at_client["received"] == at_server["sent"]
        assert at_server["received"] == at_client["sent"]
        assert (await self.ended(1))[0] in {EndReason.CLIENT_CLOSED, EndReason.BACKEND_CLOSED}

    async def exchange_over_tcp(self, size: int = 16 * MIB) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = self.serve(f"127.0.0.1:{server.getsockname()[1]}")
            await self.exchange(port, server, size)

    async def test_the_kernel_moves_it(self) -> None:
        await self.exchange_over_tcp(256 * MIB)
        assert 1 <= self.pipes_made <= 2

    async def test_no_pipe_is_to_be_had(self) -> None:
        def none_left(size: int) -> Pipe:
            self.pipes_made += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(self.pipes, "_make", none_left)
        await self.exchange_over_tcp()
        assert self.pipes_made > 1

    async def test_a_socket_that_cannot_be_spliced_from_is_copied_for_good(self) -> None:
        refused: list[object] = []

        def refuse(pipe: object, source: socket.socket, size: int) -> int:
            refused.append(source)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        self.patch(KernelPipe, "fill", refuse)
        await self.exchange_over_tcp()
        assert len(refused) == len(set(refused)) <= 2

    async def test_a_socket_that_cannot_be_spliced_to_is_copied_for_good(self) -> None:
        refused: list[object] = []

        def refuse(pipe: object, sink: socket.socket) -> None:
            refused.append(sink)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        self.patch(KernelPipe, "drain", refuse)
        await self.exchange_over_tcp()
        assert len(refused) == len(set(refused)) <= 2

    async def test_unix_sockets_on_both_sides(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(f"{folder}/backend")
            server.listen()
            self.serve(f"unix:{folder}/backend", listen=f"unix:{folder}/front")
            client.connect(f"{folder}/front")
            there = deferToThread(_exchange_one, server, 64 * MIB)
            at_client = await deferToThread(bulk.exchange, client, 64 * MIB)
            at_server = await there
        assert at_client["received"] == at_server["sent"]
        assert at_server["received"] == at_client["sent"]
        await self.ended(1)
        assert self.pipes_made > 0

    async def test_a_reader_that_has_stopped_keeps_one_pipe_at_most_until_its_session_ends(self) -> None:
        with peers.peer(peers.floods(1 << 40)) as backend:
            client = connect(self.serve(backend.address), receive_buffer=65536)
            while not self.pipes_made:
                await deferToThread(read, client, MIB)
            session = whole(next(iter(self.frontend.registry.sessions)))
            await self.steady(session.client.in_flight)
            assert self.pipes.lent <= self.pipes_made == 1
            reset(client)
            assert await self.ended(1) == [EndReason.CLIENT_RESET]

    async def steady(self, read: Callable[[], object]) -> None:
        seen, since = read(), time.monotonic()

        def still() -> bool:
            nonlocal seen, since
            if read() != seen:
                seen, since = read(), time.monotonic()
            return time.monotonic() - since > 0.3

        await until(reactor, still)


def _exchange_one(server: socket.socket, size: int) -> dict[str, str | int]:
    server.settimeout(TIMEOUT)
    sock, _ = server.accept()
    with sock:
        sock.settimeout(TIMEOUT)
        return bulk.exchange(sock, size)


class UrgentTests(NativeCase):
    """An urgent byte (RFC 6093) is not carried; what comes behind it is."""

    async def test_what_comes_behind_an_urgent_byte_is_not_left_lying(self) -> None:
        with peers.peer(peers.echo) as backend, connect(self.serve(backend.address)) as client:
            for _ in range(3):
                await self.echoed(client, b"hello")
            # All at once, before the leg looks: one read stops at the urgent byte, and no edge follows.
            client.sendall(b"before")
            client.send(b"!", socket.MSG_OOB)
            await self.echoed(client, b"behind", b"beforebehind")
        await self.ended(1)

    async def echoed(self, client: socket.socket, question: bytes, expected: bytes = b"") -> None:
        client.sendall(question)
        answer = await deferToThread(read, client, len(expected or question))
        assert answer == (expected or question)

    async def test_an_urgent_byte_in_bulk_is_not_taken_for_the_end(self) -> None:
        blocks = [bytes([number]) * 100_000 for number in range(64)]
        with peers.peer(_hash_later) as backend, connect(self.serve(backend.address)) as client:
            assert await deferToThread(read, client, 2) == b"go"
            await deferToThread(_send_with_urgent_byte, client, blocks)
            answer = await deferToThread(read_all, client)
        assert answer.decode() == hashlib.sha256(b"".join(blocks)).hexdigest()
        await self.ended(1)


def _send_with_urgent_byte(client: socket.socket, blocks: list[bytes]) -> None:
    # Only one: a kernel that has a second puts the first in line with the others.
    for block in blocks[:-3]:
        client.sendall(block)
    client.send(b"!", socket.MSG_OOB)
    for block in blocks[-3:]:
        client.sendall(block)
    client.shutdown(socket.SHUT_WR)


def _hash_later(sock: socket.socket) -> None:
    """Say go, and read only once there is nothing more to come, so that it has piled up in the balancer."""
    sock.sendall(b"go")
    _wait_for_full(sock)
    peers.hash_after_end(sock)


def _wait_for_full(sock: socket.socket) -> None:
    until_steady(lambda: int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder), 0.2)
