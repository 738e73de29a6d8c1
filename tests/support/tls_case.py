"""A frontend with TLS before it, behind it, or both, on real sockets and either data path."""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor

from support.certificates import Authority, Issued
from support.data_paths import DataPathCase
from support.sockets import until
from tcpbalance import (
    Backend,
    FrontendFactory,
    LimitsConfig,
    Pool,
    SessionRecord,
    SocketConfig,
    TimeoutsConfig,
)
from tcpbalance.config.addresses import Address, HostName
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.net.binding import bind
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.tls.client import ClientTls
from tcpbalance.proxy.preread_settings import PrereadSettings

reactor: Any = global_reactor

NAME = "web.example"
PLAIN = SocketOptions.of(SocketConfig())


class TlsCase(DataPathCase):
    """One frontend, with peers and clients in threads; each connection has one record.

    :ivar authority: whom all believe, by the file ``root``.
    """

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.authority = Authority.root()
        self.root = self.authority.write(self.folder / "root.pem")
        self.records: list[SessionRecord] = []

    def issue(self) -> Issued:
        """Make a certificate for the one name that there is."""
        return self.authority.issue(self.folder, "web", NAME)

    def serve(
        self,
        *backends: str,
        preread: PrereadSettings | None = None,
        tls: ClientTls | None = None,
        timeouts: TimeoutsConfig | None = None,
        limits: LimitsConfig | None = None,
    ) -> int:
        """Listen; gives the port.

        :param tls: what is spoken with the backends.
        """
        pool = Pool("pool", [*map(Backend, backends)], clock=time.monotonic, rng=Random(1), tls=tls)
        self.frontend = FrontendFactory(
            reactor,
            pool,
            timeouts=timeouts,
            limits=limits,
            preread=preread,
            on_record=self.records.append,
            connector=SocketConnector(reactor, PLAIN, self.data_path),
        )
        listener = Listener(
            reactor, bind(Address.parse("127.0.0.1:0"), PLAIN), self.frontend, 64, self.data_path
        )
        self.addCleanup(listener.stopListening)
        listener.startListening()
        return int(listener.getHost().port)

    def believing(self) -> ClientTls:
        """What a pool needs that believes the authority."""
        return ClientTls(PoolTlsConfig(ca=FilePath(self.root), server_name=HostName(NAME)))

    def client_context(self, shows: Issued | None = None) -> ssl.SSLContext:
        """What a client needs that believes the authority.

        :param shows: its own certificate.
        """
        context = ssl.create_default_context(cafile=self.root)
        if shows is not None:
            context.load_cert_chain(shows.certificate, shows.key)
        return context

    async def ended(self, count: int = 1) -> SessionRecord:
        """Wait until so many connections have ended; gives the record of the last."""
        await until(reactor, lambda: len(self.records) >= count, 20.0)
        assert len(self.records) == count
        assert self.frontend.registry.sessions == set()
        return self.records[-1]


def fetch_all(sock: socket.socket) -> tuple[bytes, bool]:
    """Read to the end; gives what came, and whether the end was one in order."""
    data = b""
    try:
        while part := sock.recv(1 << 16):
            data += part
    except ConnectionResetError:
        return data, False
    return data, True
