"""Who a client is, where it had to say so before a backend was chosen."""

from __future__ import annotations

from attrs import define

from tcpbalance.net.addresses import PeerAddress, shown, twisted_address
from tcpbalance.wire.proxy_protocol import ProxyHeader


@define
class Introduction:
    """What is known of a client by the time that a backend is chosen for it.

    :ivar peer: the address that it connects from.
    :ivar born: when it was accepted, in seconds of the frontend's clock.
    :ivar started: the same in seconds since the epoch.
    :ivar header: the PROXY header that it opened with, None where it had none to send.
    :ivar server_name: the name that its ClientHello asks for, None without one.
    :ivar kept: what it has sent for the backend.
    """

    peer: PeerAddress
    born: float
    started: float
    header: ProxyHeader | None = None
    server_name: str | None = None
    kept: bytes = b""

    @property
    def client(self) -> PeerAddress:
        """Whom the balancer takes for the client: whoever a proxy speaks for, else the peer itself."""
        if self.header is None or self.header.source is None:
            return self.peer
        return twisted_address(self.header.source)

    @property
    def shown_proxy(self) -> str | None:
        """The proxy through which the client comes, None when it comes by itself."""
        return shown(self.peer) if self.header is not None and self.header.source is not None else None
