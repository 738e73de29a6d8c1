"""What a frontend asks of its clients before a backend is chosen for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.draft import checked
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.hand_over import HandOver
from tcpbalance.wire.server_names import NameMap

if TYPE_CHECKING:
    from tcpbalance.net.tls.server import ServerTls


def _preread_timeout(seconds: float) -> float:
    return checked("preread", FrontendConfig, preread_timeout=seconds).preread_timeout


@frozen
class PrereadSettings:
    """What a frontend asks of its clients before it chooses a backend.

    :param proxies: peers that must open with a PROXY header; all others are served as they are.
    :param routes: pools by the server name of a ClientHello; None to look for none.
    :param timeout: seconds from the accept within which all that has to be said.
    :param tls: what clients speak TLS with; None where it does not end here.
    :param hand_over: brings connections to other processes that their clients belong to; None where there are
        none.
    :raises SettingError: for a timeout that is not above 0 and finite, or both routes and TLS.
    """

    proxies: NetworkSet = field(factory=lambda: NetworkSet(()))
    routes: NameMap[Pool] | None = None
    timeout: float = field(default=5.0, converter=_preread_timeout)
    tls: ServerTls | None = None
    hand_over: HandOver | None = field(default=None, eq=False)

    def __attrs_post_init__(self) -> None:
        if self.routes is not None and self.tls is not None:
            raise SettingError("preread: TLS that ends here cannot be passed through: give routes or tls")

    def expects_header(self, peer: ClientAddress) -> bool:
        """Whether a peer has to open with a PROXY header."""
        return peer.packed in self.proxies

    def belongs_elsewhere(self, client: ClientAddress) -> bool:
        """Whether another process serves a client; one without an address is served where it comes."""
        hand_over, packed = self.hand_over, client.packed
        return hand_over is not None and packed is not None and hand_over.belongs_elsewhere(packed)

    def decides_later(self, peer: ClientAddress) -> bool:
        """Whether a peer is admitted later: once a PROXY header has named the client, or elsewhere."""
        return self.expects_header(peer) or self.belongs_elsewhere(peer)

    def asks(self, client: ClientAddress) -> bool:
        """Whether anything comes before a backend is chosen for a client."""
        return self.routes is not None or self.tls is not None or self.decides_later(client)

    def asks_in_the_clear(self, client: ClientAddress) -> bool:
        """Whether anything but a TLS handshake comes before that."""
        return self.routes is not None or self.decides_later(client)
