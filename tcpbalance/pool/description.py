"""A pool as it is described: its backends and settings, checked; nothing of it changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from attrs import field, frozen

from tcpbalance.config.checks import refuse_name, refuse_others
from tcpbalance.config.draft import UNREAD, checked
from tcpbalance.config.http import PoolHttpConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import PEAK_EWMA, SOURCE_HASH, AffinityConfig, HealthConfig, PoolConfig
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.errors import SettingError
from tcpbalance.pool import extensions
from tcpbalance.pool.backend import Backend, BackendLike, as_backend
from tcpbalance.pool.members import Health, by_rank
from tcpbalance.pool.policies.base import PolicyFactory
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.wire.proxy_protocol import ProxyVersion

if TYPE_CHECKING:
    from tcpbalance.net.tls.client import ClientTls  # handed through to what connects; see pyproject.toml

DIAL_TIMEOUT = 15.0
"""Seconds; enough for three attempts that take the default ``connect_timeout`` each, with their pauses."""


@frozen(kw_only=True, eq=False)
class PoolDescription:
    """What a pool is made of, or becomes; it may be made in any thread.

    :param given: its backends; at least one.
    :ivar backends: the same as objects.
    :ivar policy: makes the policy.
    :raises SettingError: for backends or values that a pool cannot work with. All others are those of `Pool`.
    """

    name: str
    given: Iterable[BackendLike]
    balance: str | PolicyFactory
    bounded_load: float | None
    panic_threshold: float
    affinity: AffinityConfig | None
    connect_timeout: float
    dial_timeout: float | None
    retries: int
    retry_on: Collection[str]
    queue: int
    queue_timeout: float
    slow_start: float | None
    drain_timeout: float | None
    outlier: OutlierConfig | None
    rebalance: RebalanceConfig | None
    send_proxy_protocol: ProxyVersion | None
    pass_tlvs: Iterable[int | str]
    tls: ClientTls | None
    health: Health
    http: PoolHttpConfig | None
    values: PoolConfig = field(init=False)
    backends: tuple[Backend, ...] = field(init=False)
    policy: PolicyFactory = field(init=False)

    @values.default
    def _check(self) -> PoolConfig:
        refuse_name("pool", self.name)
        refuse_others(self.where, "affinity", self.affinity, AffinityConfig, optional=True)
        refuse_others(self.where, "outlier", self.outlier, OutlierConfig, optional=True)
        refuse_others(self.where, "http", self.http, PoolHttpConfig, optional=True)
        refuse_others(self.where, "rebalance", self.rebalance, RebalanceConfig, optional=True)
        return checked(
            self.where,
            PoolConfig,
            balance=_name_of(self.balance),
            bounded_load=self.bounded_load,
            panic_threshold=self.panic_threshold,
            connect_timeout=self.connect_timeout,
            dial_timeout=self.dial_timeout,
            retries=self.retries,
            retry_on=self.retry_on,
            queue=self.queue or None,
            queue_timeout=self.queue_timeout,
            slow_start=self.slow_start,
            drain_timeout=self.drain_timeout,
            rebalance=self.rebalance,
            send_proxy_protocol=self.send_proxy_protocol,
            pass_tlvs=self.pass_tlvs,
        )

    @backends.default
    def _backends(self) -> tuple[Backend, ...]:
        backends = read_list(self.name, self.given)
        if not backends:
            raise SettingError(f"{self.where}: must have at least one backend")
        if not isinstance(self.health, HealthConfig) and self.health not in ("external", None):
            raise SettingError(
                f"{self.where}: health must be a HealthConfig, 'external' or None, got {self.health!r}"
            )
        return tuple(backends)

    @policy.default
    def _policy(self) -> PolicyFactory:
        return extensions.policy(self.balance) if isinstance(self.balance, str) else self.balance

    @property
    def where(self) -> str:
        """What messages begin with."""
        return f"pool {self.name}"

    @property
    def policy_name(self) -> str:
        """How the log calls the policy."""
        balance = self.balance
        return balance if isinstance(balance, str) else getattr(balance, "__qualname__", repr(balance))

    @property
    def total_dial_timeout(self) -> float:
        """Seconds that all attempts for one connection may take together."""
        return self.values.dial_timeout or max(DIAL_TIMEOUT, self.values.connect_timeout)

    def make_tables(self, rest: Callable[[], object]) -> object:
        """Make the tables of the policy, which may take long.

        :param rest: called often meanwhile.
        :returns: to be kept until the policy is made, which has no other tables to make then.
        :raises SettingError: they cannot be made.
        """
        prepare = getattr(self.policy, "prepare_tables", None)
        if prepare is None:
            return None
        try:
            return [prepare(rank, rest) for rank in by_rank(self.backends)]
        except Exception as error:
            raise SettingError(
                f"{self.where}: policy {self.policy_name}: its tables cannot be made: {error!r}"
            ) from error


def _name_of(balance: str | PolicyFactory) -> str:
    """Give the name of a policy that does not go with some settings; of another class it is not known."""
    if isinstance(balance, str):
        return balance
    name: str = SOURCE_HASH if balance is SourceHash else PEAK_EWMA if balance is PeakEwmaPolicy else UNREAD
    return name


def read_list(pool: str, backends: Iterable[BackendLike]) -> list[Backend]:
    """Make backends of what is given for them.

    :param pool: the pool's name, for messages.
    :raises SettingError: they are no list, or one of them cannot be connected to.
    """
    if isinstance(backends, str) or not isinstance(backends, Iterable):
        raise SettingError(f"pool {pool}: backends must be a list, got {backends!r}")
    return [as_backend(given) for given in backends]
