"""Who a client is, where it had to say so before a backend was chosen."""

from __future__ import annotations

from attrs import frozen

from tcpbalance.net.addresses import PeerAddress, shown, twisted_address
from tcpbalance.proxy.preread import Preread
from tcpbalance.wire.proxy_protocol import ProxyAddress, UnixAddress


@frozen
class ClientInfo:
    """What is known of a client by the time that a backend is chosen for it.

    :param peer: the address that it connects from.
    :param said: what it has said, as far as it has.
    """

    peer: PeerAddress
    said: Preread

    @property
    def source(self) -> ProxyAddress | None:
        """Whom a proxy speaks for, None where it speaks for nobody, or is none."""
        return None if self.said.header is None else self.said.header.source

    @property
    def client(self) -> PeerAddress:
        """Whom the balancer takes for the client: whoever a proxy speaks for, else the peer itself."""
        return self.peer if self.source is None else twisted_address(self.source)

    @property
    def judged(self) -> PeerAddress:
        """The address that access lists and limits go by: the client's, where it is an IP address.

        A proxy may speak for the peer of a unix socket, which no list and no limit knows; that counts as the
        proxy itself.
        """
        return self.peer if isinstance(self.source, UnixAddress) else self.client

    @property
    def shown_proxy(self) -> str | None:
        """The proxy through which the client comes, None when it comes by itself."""
        return None if self.source is None else shown(self.peer)
