"""The listening sockets of all frontends, which the supervisor has open for its workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.net.binding import ListenError
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.workers.socket_group import SocketGroup, listen

Key = tuple[str, int, Address]
"""What listens goes on with the same key: an address, wherever it stands; but where the kernel chooses the
port, also the name of the frontend and the place in its ``listen``."""


@frozen
class Listening:
    """What is listened on by one configuration.

    :param groups: by their keys; the name of an address may have several.
    :param frontends: the same keys, each with the name of its frontend.
    :param of_proxies: those of them whose clients PROXY headers name.
    """

    groups: Mapping[Key, Sequence[SocketGroup]]
    frontends: Mapping[Key, str]
    of_proxies: Collection[Key]

    @classmethod
    def of(cls, config: Config, workers: int, before: Listening | None = None) -> Listening:
        """Listen on all addresses of a configuration; clients wait from now on.

        :param workers: how many there are.
        :param before: what is listened on already; what it has of the same addresses stays as it is.
        :raises ListenError: an address cannot be had, or the system refuses a socket option; nothing has
            changed then.
        """
        present = {} if before is None else before.groups
        groups: dict[Key, Sequence[SocketGroup]] = {}
        frontends: dict[Key, str] = {}
        of_proxies: set[Key] = set()
        with ExitStack() as undo:
            for name, frontend in config.frontends.items():
                for place, address in enumerate(frontend.listen):
                    key = ("", 0, address) if address.port != 0 else (name, place, address)
                    frontends[key] = name
                    if frontend.accept_proxy_protocol:
                        of_proxies.add(key)
                    if key in present:
                        groups[key] = present[key]
                        continue
                    beside = any(group.overlaps(address) for of in present.values() for group in of)
                    groups[key] = _listen(name, frontend, address, workers, beside=beside)
                    for group in groups[key]:
                        undo.callback(group.close)
            undo.pop_all()
        return cls(groups, frontends, of_proxies)

    def spread(self) -> None:
        """Have the kernel bring the clients of each address to their workers as this says, which may differ
        from what was said of a socket that stays."""
        for key, groups in self.groups.items():
            for group in groups:
                group.choose_by_owner(key not in self.of_proxies)

    def sockets(self, worker: int, before: Listening | None = None) -> list[tuple[str, int]]:
        """Give the sockets that a worker accepts from, each the name of its frontend and its descriptor.

        :param before: without those of this.
        """
        known = () if before is None else before.groups
        return [
            (self.frontends[key], group.of_worker(worker).fileno())
            for key, groups in self.groups.items()
            for group in groups
            if key not in known
        ]

    def without(self, other: Listening) -> list[SocketGroup]:
        """Give what another one has not."""
        return [group for key, of in self.groups.items() if key not in other.groups for group in of]

    def places(self) -> list[tuple[str, str]]:
        """Give the addresses, each with the name of its frontend."""
        return [
            (self.frontends[key], group.address) for key, groups in self.groups.items() for group in groups
        ]

    def close(self) -> None:
        """Close all; what workers have of them stays open."""
        for groups in self.groups.values():
            for group in groups:
                group.close()


def _listen(
    name: str, frontend: FrontendConfig, address: Address, workers: int, *, beside: bool
) -> list[SocketGroup]:
    options = SocketOptions.of(frontend.socket)
    socket_file = SocketFile(frontend.listen_mode, frontend.listen_user, frontend.listen_group)
    by_owner = not frontend.accept_proxy_protocol
    try:
        return listen(
            address, options, socket_file, frontend.backlog, workers, beside=beside, by_owner=by_owner
        )
    except ListenError as error:
        raise ListenError(f"frontend {name}: {error}") from error
