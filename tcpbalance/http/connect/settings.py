"""What the table of CONNECT of a frontend says, as its requests need it."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.users_file import UsersFile
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.http.connect.destinations import Destinations


@frozen(eq=False)
class ConnectSettings:
    """Which clients may have tunnels, and where to.

    :param destinations: where to.
    :param clients: networks of clients that may; None for all.
    :param users: names and passwords of which one is needed; None for none.
    :param timeout: seconds from the request to the connection.
    """

    destinations: Destinations
    clients: NetworkSet | None = None
    users: UsersFile | None = None
    timeout: float = 10.0

    @classmethod
    def of(cls, config: ConnectConfig) -> Self:
        """Make them, and read the file of users.

        :raises UsersFileError: it cannot be used.
        """
        private = (network.network for network in config.private_networks)
        return cls(
            Destinations(config.allow, private),
            NetworkSet(network.network for network in config.clients) or None,
            None if config.users_file is None else UsersFile(config.users_file),
            config.connect_timeout,
        )
