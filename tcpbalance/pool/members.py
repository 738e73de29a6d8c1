"""A pool's list of backends and all that is derived from it: built apart, then swapped whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.pools import HealthConfig
from tcpbalance.errors import SettingError
from tcpbalance.pool.backend import Backend, BackendSettings
from tcpbalance.pool.policies.base import PolicyFactory, PolicyTools
from tcpbalance.pool.tier import PolicyFailureLog, Tier

Health = HealthConfig | Literal["external"] | None


@frozen(eq=False)
class Members:
    """What a pool derives from its list of backends; it never changes.

    :ivar backends: in the order in which they were given.
    :ivar tiers: the primaries, then the backups, with the tables of their policies; a tier without backends
        is left out.
    :ivar panic_below: health and ejection are ignored while fewer backends than this are eligible.
    :ivar max_ejected: how many of them may be ejected at once.
    :ivar is_fixed: whether no address has to be looked up.
    """

    backends: tuple[Backend, ...] = ()
    tiers: tuple[Tier, ...] = ()
    panic_below: float = 0.0
    max_ejected: int = 1
    is_fixed: bool = True


@frozen
class MembersBuilder:
    """Builds the members of one pool from lists of backends.

    :param pool: the pool's name.
    :param balance: makes the policy of a tier.
    :param tools: handed to the policies.
    :param failures: takes what goes wrong in a policy.
    :param panic_threshold: the fraction of the backends that `Members.panic_below` is.
    :param max_ejected: the fraction of the backends that `Members.max_ejected` is.
    :param health: the pool's; its checks need an address for each backend.
    """

    pool: str
    balance: PolicyFactory
    tools: PolicyTools
    failures: PolicyFailureLog
    panic_threshold: float
    max_ejected: float
    health: Health

    def makes_as(self, other: MembersBuilder) -> bool:
        """Whether it makes the same members as another."""
        return (self.balance, self.panic_threshold, self.max_ejected, self.health) == (
            other.balance,
            other.panic_threshold,
            other.max_ejected,
            other.health,
        )

    def prepare(
        self, present: Members, given: Sequence[Backend], draining: Sequence[Backend]
    ) -> tuple[Members, Mapping[Backend, BackendSettings]]:
        """Check a list of backends, and derive from it what the pool needs; nothing changes.

        :param present: what the pool has; of these backends, those that are given as well stay the objects
            that they are.
        :param given: the list.
        :param draining: removed backends that still have connections; those that are given as well come back.
        :returns: the members, and what their settings are then.
        :raises SettingError: two backends have one name, one of them cannot be checked, or the policy cannot
            be made of them.
        """
        known = {backend.key: backend for backend in (*draining, *present.backends)}
        return self._prepared(known, [(backend, backend.settings) for backend in given])

    def updated(
        self, present: Members, members: Members, settings: Mapping[Backend, BackendSettings]
    ) -> tuple[Members, Mapping[Backend, BackendSettings]]:
        """Derive anew what was prepared, where the pool has other objects for some backends by now.

        :param present: what the pool has now.
        :param members: what `prepare` has returned, as the *settings*.
        """
        known = {backend.key: backend for backend in present.backends}
        if all(known.get(backend.key, backend) is backend for backend in members.backends):
            return members, settings
        try:
            return self._prepared(known, list(settings.items()))
        except SettingError:
            # A policy that could be made before; what it was made of then still serves.
            return members, settings

    def _prepared(
        self,
        known: Mapping[tuple[str, Address], Backend],
        wanted: Sequence[tuple[Backend, BackendSettings]],
    ) -> tuple[Members, Mapping[Backend, BackendSettings]]:
        backends = [known.get(backend.key, backend) for backend, _ in wanted]
        settings = {backend: new for backend, (_, new) in zip(backends, wanted, strict=True)}
        different = {backend: new for backend, new in settings.items() if backend.settings != new}
        with _applied(different):
            # The tables of policies are made of the weights to come.
            return self._build(backends), settings

    def _build(self, backends: Sequence[Backend]) -> Members:
        self._check_names(backends)
        if isinstance(self.health, HealthConfig):
            for backend in backends:
                self.health.checked_address(backend.address)
        try:
            tiers = tuple(Tier(self.balance, rank, self.tools, self.failures) for rank in by_rank(backends))
        except Exception as error:
            raise SettingError(f"{self.failures.policy} cannot be made: {error!r}") from error
        count = len(backends)
        return Members(
            tuple(backends),
            tiers,
            self.panic_threshold * count,
            max(1, int(self.max_ejected * count)),
            all(backend.address.is_fixed for backend in backends),
        )

    def _check_names(self, backends: Sequence[Backend]) -> None:
        for name, count in Counter(backend.name for backend in backends).most_common(1):
            if count > 1:
                raise SettingError(
                    f"pool {self.pool}: backends must have different names, got {name} {count} times"
                )


def by_rank(backends: Iterable[Backend]) -> list[list[Backend]]:
    """Give the primaries, then the backups; those that there are."""
    ranks: dict[bool, list[Backend]] = {False: [], True: []}
    for backend in backends:
        ranks[backend.backup].append(backend)
    return [rank for rank in ranks.values() if rank]


@contextmanager
def _applied(settings: Mapping[Backend, BackendSettings]) -> Iterator[None]:
    """Give backends other settings for the time of the block."""
    before = {backend: backend.settings for backend in settings}
    try:
        for backend, new in settings.items():
            backend.settings = new
        yield
    finally:
        for backend, old in before.items():
            backend.settings = old
