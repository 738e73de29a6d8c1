"""A send that fails because this machine lacks memory says nothing about the peer that it was for."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import ProtocolWrapper

from support import peers
from support.clients import connect, read, read_all
from support.sockets import until
from support.tls_case import TlsCase
from support.tls_peers import tls_peer
from tcpbalance.net.adapted_transport import AdaptedTransport
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.tls.client import ClientTls
from tcpbalance.net.tls.tls_layer import TlsOutput
from tcpbalance.proxy.bare_session import BareSession

reactor: Any = global_reactor


class Lacking:
    """A socket for whose bytes there is no memory."""

    def __init__(self, sock: Any, code: int) -> None:
        self._sock = sock
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def send(self, *_: Any) -> int:
        raise OSError(self._code, os.strerror(self._code))


def let_lack(transport: Any, code: int) -> Lacking:
    """Let a transport have no memory for what it sends; give the socket that has none."""
    if isinstance(transport, AdaptedTransport):
        transport = transport._transport
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    holder, name = transport, "socket"
    if isinstance(transport, SocketTransport):
        holder, name = transport.output, "_socket"
        if isinstance(holder, TlsOutput):
            holder, name = transport.socket, "_sock"
    lacking = Lacking(getattr(holder, name), code)
    setattr(holder, name, lacking)
    return lacking


class NoMemoryTests(TlsCase):
    """On the portable data path."""

    async def fails_towards(self, side: str, code: int, exchanges: int, tls: ClientTls | None = None) -> None:
        made = peers.peer(peers.echo) if tls is None else tls_peer(peers.echo, self.issue())
        backend = self.enterContext(made)
        with connect(self.serve(backend.address, tls=tls)) as client:
            sessions = self.frontend.registry.sessions
            await until(reactor, lambda: any(session.served_by for session in sessions))
            for _ in range(exchanges):
                client.sendall(b"hello")
                assert await deferToThread(read, client, 5) == b"hello"
            (session,) = sessions
            if isinstance(session, BareSession) and session.is_bare:
                sock = getattr(session, f"_{side}_socket")
                setattr(session, f"_{side}_socket", Lacking(sock, code))
            else:
                lacking = let_lack(getattr(session, side).transport, code)
                other = getattr(session, "client" if side == "backend" else "backend")
                if other.pump is not None:
                    other.pump._send = lacking.send
            client.sendall(b"again")
            with self.assertRaises(ConnectionResetError):
                await deferToThread(read_all, client)
            record = await self.ended(1)
        assert (record.reason.word, record.cause) == ("local_failure", os.strerror(code).lower())
        assert record.failures == ()
        assert self.frontend.context.pool is not None
        (member,) = self.frontend.context.pool.backends
        assert (member.cooldown_until, member.active) == (0.0, 0)

    async def test_bytes_for_a_backend_that_speaks_tls(self) -> None:
        await self.fails_towards("backend", errno.ENOBUFS, 1, self.believing())

    async def test_the_first_bytes_for_a_backend(self) -> None:
        await self.fails_towards("backend", errno.ENOBUFS, 0)

    async def test_the_first_bytes_for_a_client(self) -> None:
        await self.fails_towards("client", errno.ENOMEM, 0)

    async def test_later_bytes_for_a_backend(self) -> None:
        await self.fails_towards("backend", errno.ENOMEM, 3)

    async def test_later_bytes_for_a_client(self) -> None:
        await self.fails_towards("client", errno.ENOBUFS, 3)


class NativeNoMemoryTests(NoMemoryTests):
    """On the native data path: by the session, and from leg to leg."""

    data_path_name = "auto"
