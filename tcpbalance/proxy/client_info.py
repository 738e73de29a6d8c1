"""What is known of a client that had to send something before a backend was chosen."""

from __future__ import annotations

from attrs import frozen

from tcpbalance.net.addresses import PeerAddress, shown, twisted_address
from tcpbalance.proxy.preread import Preread
from tcpbalance.wire.proxy_protocol import ProxyAddress, UnixAddress


@frozen
class ClientInfo:
    """What is known of a client by the time that a backend is chosen for it.

    :param peer: the address that it connects from.
    :param preread: what it has sent, as far as it has been parsed.
    """

    peer: PeerAddress
    preread: Preread

    @property
    def source(self) -> ProxyAddress | None:
        """The client that a PROXY header names; None if it names none, or there is no header."""
        return None if self.preread.header is None else self.preread.header.source

    @property
    def client(self) -> PeerAddress:
        """The client's address: the one in the PROXY header, else the peer's."""
        return self.peer if self.source is None else twisted_address(self.source)

    @property
    def judged(self) -> PeerAddress:
        """The address for access lists and limits: the client's if it is an IP address, else the peer's.

        A PROXY header may name the peer of a unix socket, which no list and no limit knows.
        """
        return self.peer if isinstance(self.source, UnixAddress) else self.client

    @property
    def shown_proxy(self) -> str | None:
        """The proxy that the client comes through, None without one."""
        return None if self.source is None else shown(self.peer)
