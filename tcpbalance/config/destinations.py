"""Where clients of a forward proxy may have connections to."""

from __future__ import annotations

from typing import ClassVar, Self

from attrs import frozen

from tcpbalance.config.addresses import MAX_PORT, IpNetwork, Network, port_of
from tcpbalance.config.messages import value_text
from tcpbalance.config.names import NamePattern
from tcpbalance.errors import SettingError

ANYWHERE = "*"


@frozen
class Destination:
    """A name or a network, each with a port; written ``"www.example.com:443"``, ``"*.example.com:443"``,
    ``"10.0.0.0/8:5432"``, ``"[fd00::/8]:443"``, or ``"*:443"`` for all.

    :param port: 1 to 65535.
    :param name: a server name, a wildcard, or ``"*"``; None for a network.
    :param network: addresses that may be asked for as such; None for a name.
    """

    words: ClassVar[str] = "destination"

    port: int
    name: str | None = None
    network: IpNetwork | None = None

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a destination.

        :raises SettingError: for anything else, with what is wrong with it.
        """
        if not isinstance(value, str):
            raise _wrong(value, "it must be a string")
        host, colon, digits = value.rpartition(":")
        is_six = host.startswith("[") and host.endswith("]")
        if not colon or not host or (":" in host and not is_six) or value.endswith("]"):
            raise _wrong(value, "a port is missing, and IPv6 needs brackets")
        port = port_of(digits)
        if not port:
            raise _wrong(value, f"the port must be 1 to {MAX_PORT}")
        if host == ANYWHERE:
            return cls(port, ANYWHERE)
        if is_six or host.rpartition("/")[0] or host.replace(".", "").isdecimal():
            return cls(port, network=_network(host.strip("[]"), value))
        try:
            return cls(port, NamePattern.parse(host))
        except SettingError as error:
            raise _wrong(value, str(error)) from None

    def __str__(self) -> str:
        host = self.name if self.network is None else str(self.network)
        return f"[{host}]:{self.port}" if ":" in str(host) else f"{host}:{self.port}"


def _network(text: str, value: str) -> IpNetwork:
    try:
        return Network.parse(text).network
    except SettingError as error:
        raise _wrong(value, str(error)) from None


def _wrong(value: object, why: str) -> SettingError:
    return SettingError(
        'must be a destination such as "www.example.com:443", "*.example.com:443" or "10.0.0.0/8:443", '
        f"got {value_text(value)}: {why}"
    )
