"""Broken code and broken connections on the native data path: one session ends, once, and leaves nothing."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from support import peers
from support.bare import whole
from support.clients import connect, read, read_all, reset
from support.native import NativeCase
from support.sockets import until
from tcpbalance import EndReason

reactor: Any = global_reactor

MIB = 1 << 20


class BrokenCodeTests(NativeCase):
    """What raises ends its own session, with a traceback in the log, and no other."""

    async def test_in_the_middle_of_a_session(self) -> None:
        with peers.peer(peers.echo) as backend:
            port = self.serve(backend.address)
            with connect(port) as good, connect(port) as bad:
                for client in (good, bad):
                    client.sendall(b"hello")
                    assert await deferToThread(read, client, 5) == b"hello"
                self.break_session_of(bad)
                bad.sendall(b"?")
                with self.assertRaises(ConnectionResetError):
                    await deferToThread(read_all, bad)
                assert len(self.flushLoggedErrors(RuntimeError)) == 1
                good.sendall(b"still here")
                assert await deferToThread(read, good, 10) == b"still here"
        assert sorted(reason.word for reason in await self.ended(2)) == ["client_closed", "internal_error"]

    def break_session_of(self, client: socket.socket) -> None:
        def broken(data: bytes) -> None:
            raise RuntimeError("broken on purpose")

        name = f"127.0.0.1:{client.getsockname()[1]}"
        for session in self.sessions:
            transport: Any = whole(session).client.transport
            peer = transport.getPeer()
            if f"{peer.host}:{peer.port}" == name:
                transport.input.protocol.dataReceived = broken


class ResetTests(NativeCase):
    """Either side breaks off, in every state that a session has."""

    async def test_the_client_before_there_is_a_backend(self) -> None:
        with peers.unanswering() as address:
            client = connect(self.serve(address))
            client.sendall(b"?")
            await until(reactor, lambda: self.sessions)
            reset(client)
            assert await self.ended(1) == [EndReason.CLIENT_RESET]

    async def test_the_client_that_is_read_no_further(self) -> None:
        with peers.unanswering() as address:
            client = connect(self.serve(address))
            client.setblocking(False)
            client.send(bytes(MIB))
            await until(
                reactor,
                lambda: self.sessions and not _only(self.sessions).is_bare and _only(self.sessions)._replay,
            )
            reset(client)
            assert await self.ended(1) == [EndReason.CLIENT_RESET]

    async def test_the_client_before_it_is_looked_at(self) -> None:
        with peers.peer(peers.echo) as backend:
            client = connect(self.serve(backend.address))
            reset(client)
            assert await self.ended(1) == [EndReason.CLIENT_RESET]

    async def test_the_client_after_it_has_finished(self) -> None:
        with peers.peer(peers.ignore_the_end) as backend:
            client = connect(self.serve(backend.address))
            client.shutdown(socket.SHUT_WR)
            await until(
                reactor,
                lambda: self.sessions and _client_has_finished(_only(self.sessions)),
            )
            # What a finished client does that is gone: the backend's next bytes are answered with a reset.
            reset(client)
            assert await self.ended(1) == [EndReason.CLIENT_RESET]

    async def test_the_backend_behind_a_stopped_reader(self) -> None:
        with peers.peer(_flood_and_break_off) as backend, connect(self.serve(backend.address)) as client:
            client.sendall(b"?")
            await until(reactor, lambda: any(session.ending for session in self.sessions), 20.0)
            assert not self.records, "the client has not got yet what came before"
            size = await deferToThread(_read_to_a_reset, client)
            assert await self.ended(1) == [EndReason.BACKEND_RESET]
        assert self.records[0].backend_bytes == size > MIB


def _only(sessions: Any) -> Any:
    (session,) = sessions
    return session


def _client_has_finished(session: Any) -> bool:
    finished: bool = session._client_ended if session.is_bare else session.client.finished
    return finished


def _read_to_a_reset(sock: socket.socket) -> int:
    size = 0
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(1 << 16):
            size += len(part)
        raise AssertionError("an end was made up")
    return size


def _flood_and_break_off(sock: socket.socket) -> None:
    """Send until nothing is taken any more, and break off."""
    sock.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        peers.floods(1 << 40)(sock)
    reset(sock)
