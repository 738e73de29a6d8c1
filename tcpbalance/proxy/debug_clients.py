"""The clients whose connections are logged step by step; see ``trace``."""

from __future__ import annotations

from collections.abc import Iterable

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import IpNetwork
from tcpbalance.net.addresses import ClientAddress


class DebugClients:
    """The networks that these clients are in; they may be replaced, and count for new connections.

    :param networks: see above.
    :ivar networks: the same as a set; None without any, which each connection asks for.
    """

    __slots__ = ("networks",)

    def __init__(self, networks: Iterable[IpNetwork] = ()) -> None:
        self.networks: NetworkSet | None = None
        self.replace(networks)

    def replace(self, networks: Iterable[IpNetwork]) -> None:
        """Have the connections of other clients logged from now on."""
        self.networks = NetworkSet(networks) or None

    def has(self, client: ClientAddress) -> bool:
        """Whether the connections of a client are logged."""
        return self.networks is not None and client.packed in self.networks
