"""Which names and addresses clients may have tunnels to.

It is decided twice: of what a client names, and of each address that is about to be dialled. The name servers
of an allowed name may let it lead to any address, and to another one with each question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.public_addresses import is_public
from tcpbalance.config.addresses import Address, IpNetwork
from tcpbalance.config.destinations import ANYWHERE, Destination
from tcpbalance.net.addresses import packed
from tcpbalance.net.own_addresses import is_own
from tcpbalance.wire.server_names import NameMap

_NONE = NetworkSet()


class Destinations:
    """What ``allow`` and ``private_networks`` of a table say. It is not changed.

    :param allow: names, wildcards and networks, each with its port.
    :param private: networks that names may lead to although they are not public.
    :param is_own: whether an IP address is one of this machine's, from where more can be reached than from
        outside.
    """

    __slots__ = ("_addresses", "_anywhere", "_is_own", "_names", "_private")

    def __init__(
        self,
        allow: Iterable[Destination],
        private: Iterable[IpNetwork] = (),
        is_own: Callable[[str], bool] = is_own,
    ) -> None:
        names: defaultdict[int, dict[str, None]] = defaultdict(dict)
        addresses: defaultdict[int, list[IpNetwork]] = defaultdict(list)
        for destination in allow:
            if destination.network is not None:
                addresses[destination.port].append(destination.network)
            elif destination.name is not None:
                names[destination.port][destination.name] = None
        self._anywhere = frozenset(port for port, there in names.items() if ANYWHERE in there)
        self._names = {
            port: NameMap(((name, name) for name in there if name != ANYWHERE), deep=True)
            for port, there in names.items()
        }
        self._addresses = {port: NetworkSet(networks) for port, networks in addresses.items()}
        self._private = NetworkSet(private)
        self._is_own = is_own

    def has(self, address: Address) -> bool:
        """Whether clients may ask for a host and port."""
        host, port = str(address.host), int(address.port or 0)
        if address.is_name:
            names = self._names.get(port)
            return port in self._anywhere or (names is not None and names.match(host) is not None)
        return self.may_dial(address, host)

    def may_dial(self, asked: Address, host: str) -> bool:
        """Whether a connection may be made to an address.

        :param asked: what the client has asked for, a name or the address itself.
        :param host: the IP address.
        """
        port, found = int(asked.port or 0), packed(host)
        if found in self._addresses.get(port, _NONE):
            return True
        if not asked.is_name:
            return port in self._anywhere and self._is_public(found)
        return found in self._private or self._is_public(found)

    def _is_public(self, found: bytes | None) -> bool:
        return found is not None and is_public(found) and not self._is_own(str(ip_address(found)))
