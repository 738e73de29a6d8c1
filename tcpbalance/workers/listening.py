"""The listening sockets of all frontends, which the supervisor has open for its workers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.net.binding import ListenError, listen_error, take_all
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.workers.socket_group import SocketGroup, Target, listen, target_of


@frozen(eq=False)
class ListensAt:
    """What listens on one address of a frontend.

    :param frontend: its name.
    :param place: of the address in its ``listen``.
    :param address: as the configuration has it.
    :param groups: the sockets; a name may have several addresses.
    :param by_owner: whether the kernel knows the clients by their addresses.
    :param socket_file: mode and owner of a unix socket.
    """

    frontend: str
    place: int
    address: Address
    groups: Sequence[SocketGroup]
    by_owner: bool
    socket_file: SocketFile

    @property
    def key(self) -> tuple[object, ...]:
        """What listens goes on with the same key: an address, wherever it stands; but where the kernel has
        chosen the port, only at the same place."""
        return (self.address,) if self.address.port != 0 else (self.frontend, self.place, self.address)


@frozen(eq=False)
class Listening:
    """What is listened on by one configuration."""

    listeners: Sequence[ListensAt]

    @classmethod
    def of(
        cls,
        config: Config,
        workers: int,
        undo: ExitStack,
        before: Listening | None = None,
        found: Mapping[Address, Sequence[Address]] = {},
    ) -> Listening:
        """Listen on all addresses of a configuration; clients wait from now on.

        :param workers: how many there are.
        :param undo: gets what gives back all that is taken.
        :param before: what is listened on already; what it has of the same addresses stays as it is, apart
            from the mode and owner of unix sockets.
        :param found: the addresses of names, as far as they have been looked up.
        :raises ListenError: an address cannot be had, or the system refuses a socket option, or the mode or
            owner of a unix socket.
        """
        present = [] if before is None else list(before.listeners)
        taking = _Taking(workers, present, found, undo)
        return cls(
            [
                taking.take(name, frontend, place, address)
                for name, frontend in config.frontends.items()
                for place, address in enumerate(frontend.listen)
            ]
        )

    def adopt(self) -> None:
        """Have the sockets that stay be as this says."""
        for listener in self.listeners:
            for group in listener.groups:
                group.choose_by_owner(listener.by_owner)
                group.socket_file = listener.socket_file

    @property
    def groups(self) -> list[SocketGroup]:
        """All sockets."""
        return [group for listener in self.listeners for group in listener.groups]

    def sockets(self, worker: int, before: Listening | None = None) -> list[tuple[str, int]]:
        """Give the sockets that a worker accepts from, each the name of its frontend and its descriptor.

        :param before: without those of this.
        """
        known = set() if before is None else set(before.groups)
        return [
            (listener.frontend, group.of_worker(worker).fileno())
            for listener in self.listeners
            for group in listener.groups
            if group not in known
        ]

    def without(self, other: Listening) -> list[SocketGroup]:
        """Give what another one has not."""
        known = set(other.groups)
        return [group for group in self.groups if group not in known]

    def places(self) -> Iterator[tuple[str, str]]:
        """Give the addresses, each with the name of its frontend."""
        for listener in self.listeners:
            for group in listener.groups:
                yield listener.frontend, group.address

    def close(self) -> None:
        """Close all; what workers have of them stays open."""
        for group in self.groups:
            group.close()


class _Taking:
    """Takes the addresses of one configuration, one after the other.

    :param workers: how many there are.
    :param present: what listens already.
    :param found: the addresses of names.
    :param undo: gets what gives back what is taken.
    """

    def __init__(
        self,
        workers: int,
        present: Sequence[ListensAt],
        found: Mapping[Address, Sequence[Address]],
        undo: ExitStack,
    ) -> None:
        self._workers = workers
        self._by_key = {listener.key: listener for listener in present}
        self._by_target = {group.target: group for listener in present for group in listener.groups}
        self._found = found
        self._undo = undo
        self._used: set[Target] = set()

    def take(self, name: str, frontend: FrontendConfig, place: int, address: Address) -> ListensAt:
        """Take an address of a frontend.

        :raises ListenError: see `Listening.of`.
        """
        by_owner = not frontend.accept_proxy_protocol
        socket_file = SocketFile(frontend.listen_mode, frontend.listen_user, frontend.listen_group)
        listener = ListensAt(name, place, address, [], by_owner, socket_file)
        try:
            groups = self._groups(listener, frontend)
            for group in groups:
                self._undo.callback(group.change_file(socket_file))
        except ListenError as error:
            raise ListenError(f"frontend {name}: {error}") from error
        return ListensAt(name, place, address, groups, by_owner, socket_file)

    def _groups(self, listener: ListensAt, frontend: FrontendConfig) -> Sequence[SocketGroup]:
        present = self._by_key.get(listener.key)
        if present is not None:
            self._used.update(group.target for group in present.groups)
            return present.groups
        options = SocketOptions.of(frontend.socket)

        def take(own: Address) -> _TakenGroup:
            group = self._known(own)
            if group is None:
                group = listen(
                    own,
                    options,
                    listener.socket_file,
                    frontend.backlog,
                    self._workers,
                    beside=self._is_overlapped(own),
                    by_owner=listener.by_owner,
                )
                self._undo.callback(group.close)
            self._used.add(group.target)
            return _TakenGroup(group)

        taken = take_all(listener.address, take, self._found.get(listener.address))
        return [one.group for one in taken]

    def _known(self, own: Address) -> SocketGroup | None:
        """Give the sockets that listen on an address already.

        :raises ListenError: another address of the configuration is the same.
        """
        if own.port == 0:
            return None
        target = target_of(own)
        if target in self._used:
            raise listen_error(own, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
        return self._by_target.get(target)

    def _is_overlapped(self, own: Address) -> bool:
        return any(group.overlaps(own) for group in self._by_target.values() if group.has_port_of(own))


@frozen
class _TakenGroup:
    """What was taken of a name, some of whose addresses cannot be had: `_Taking` closes what is new."""

    group: SocketGroup

    def close(self) -> None:
        """Leave it as it is."""
