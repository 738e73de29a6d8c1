"""The backends behind one name: which of them a connection may go to, in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Generator, Sequence
from math import inf
from random import Random
from typing import get_args

from twisted.logger import Logger

from tcpbalance import bounds
from tcpbalance.net.tls.client import ClientTls
from tcpbalance.pool import extensions
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.errors import PoolError
from tcpbalance.pool.policies.base import PolicyFactory, PolicyTools
from tcpbalance.pool.slot import Slot
from tcpbalance.pool.tier import Tier
from tcpbalance.wire.proxy_protocol import ProxyVersion

__all__ = ["Pool", "Slot"]

_UNBOUNDED = (inf, 1)
_PANIC = "pool {pool}: {up} of {count} backends up, below the panic threshold; health is ignored"
_CALM = "pool {pool}: {up} of {count} backends up; health is heeded again"


class Pool:
    """Chooses among backends, and keeps count of the connections to them.

    :param name: how the configuration and the log call it.
    :param backends: at least one, under different names; they belong to this pool from now on.
    :param seconds: the clock; it only goes forward.
    :param random: where chance comes from.
    :param balance: the name of a policy, or what makes one of backends and `PolicyTools`.
    :param bounded_load: how many times its fair share of the connections a backend may have before others are
        preferred, at least 1; None for no such bound.
    :param panic_threshold: when less than this fraction of the backends is up, health is ignored; 0: never.
    :param affinity: remembers clients; None for no affinity.
    :param connect_timeout: seconds that dialling a backend may take.
    :param retries: how many further backends are dialled after the first.
    :param send_proxy_protocol: the version of the PROXY header with which a connection to a backend opens,
        ``"v1"`` or ``"v2"``; None for none.
    :param pass_tlvs: types of the TLVs that go on to backends from the PROXY header of the client's proxy.
    :param tls: what TLS is spoken with to the backends; None for none.
    :param checked: whether health checks find out which backends are up, so that a failed dial need not.
    :raises PoolError: for backends or values it cannot work with.
    """

    _log = Logger()

    def __init__(  # noqa: PLR0913 - all but two are given by name
        self,
        name: str,
        backends: Sequence[Backend],
        *,
        seconds: Callable[[], float],
        random: Random,
        balance: str | PolicyFactory = "round_robin",
        bounded_load: float | None = None,
        panic_threshold: float = 0.0,
        affinity: Affinity | None = None,
        connect_timeout: float = 3.0,
        retries: int = 2,
        send_proxy_protocol: ProxyVersion | None = None,
        pass_tlvs: Container[int] = (),
        tls: ClientTls | None = None,
        checked: bool = False,
    ) -> None:
        self.name = name
        self.backends = tuple(backends)
        self.seconds = seconds
        self.affinity = affinity
        self.connect_timeout = connect_timeout
        self.retries = retries
        self.send_proxy_protocol = send_proxy_protocol
        self.pass_tlvs = pass_tlvs
        self.tls = tls
        self.checked = checked
        self._bounded_load = bounded_load
        self._panic_threshold = panic_threshold
        self._refuse_nonsense()
        self._tiers = self._make_tiers(balance, PolicyTools(seconds, random))
        self._told = False
        self._count()

    def choices(self, client: bytes | None) -> Generator[Backend, None, None]:
        """Yield the backends that a connection may go to, best first, each at most once.

        First the primaries: those the client belongs to, then all as the policy orders them. Then the backups
        likewise, last those that rest after a failed dial. Whether one can serve is decided when it is asked
        for.

        :param client: the client's packed address, None when it has none.
        """
        if self._panics != self._told:
            self._tell()
        seen: set[Backend] = set()
        resting: list[Backend] = []
        homes = () if self.affinity is None or client is None else self.affinity.lookup(client)
        for tier in self._tiers:
            for backend in homes:
                if backend in tier.members and self._serves(backend, seen, resting):
                    yield backend
            most, weight = _UNBOUNDED if self._bounded_load is None else self._bound(tier)
            crowded: list[Backend] = []
            for backend in tier.candidates(client):
                if not self._serves(backend, seen, resting):
                    continue
                if backend.active * weight >= most * backend.weight:
                    crowded.append(backend)
                else:
                    yield backend
            yield from filter(self._fit, crowded)
        yield from filter(self._fit, resting)

    def take(self, backend: Backend, client: bytes | None) -> Slot:
        """Count a connection to the backend, from dialling on.

        :param client: the client's packed address, None when it has none.
        """
        return Slot(self, backend, client)

    def mark_up(self, backend: Backend) -> bool:
        """Let the backend serve.

        :returns: whether it was down.
        """
        flipped = not backend.up
        backend.up = True
        backend.cause = ""
        if flipped:
            self._count()
        return flipped

    def mark_down(self, backend: Backend, cause: str) -> bool:
        """Let the backend serve no new connections.

        :param cause: why, for the operator; the latest stands.
        :returns: whether it was up.
        """
        flipped = backend.up
        backend.up = False
        backend.cause = cause
        if flipped:
            self._count()
        return flipped

    def _serves(self, backend: Backend, seen: set[Backend], resting: list[Backend]) -> bool:
        """Whether it is this candidate's turn; one that rests is put aside instead."""
        if backend in seen:
            return False
        seen.add(backend)
        if not self._fit(backend):
            return False
        if self._rests(backend):
            resting.append(backend)
            return False
        return True

    def _fit(self, backend: Backend) -> bool:
        return (backend.up or self._panics) and not backend.full

    def _rests(self, backend: Backend) -> bool:
        return backend.rests_until > 0.0 and backend.rests_until > self.seconds()

    def _bound(self, tier: Tier) -> tuple[float, int]:
        """Tell how many connections those which can serve may have together, and what they weigh.

        Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016 (arXiv 1608.01350):
        none has more than c times the mean, counting the connection to come, rounded up; here by weight.
        """
        assert self._bounded_load is not None
        open_to_all = [
            backend for backend in tier.backends if self._fit(backend) and not self._rests(backend)
        ]
        weight = sum(backend.weight for backend in open_to_all)
        active = sum(backend.active for backend in open_to_all)
        return self._bounded_load * (active + 1), weight

    def _count(self) -> None:
        self._up = sum(backend.up for backend in self.backends)
        self._panics = self._up < self._panic_threshold * len(self.backends)

    def _tell(self) -> None:
        """Log that a panic has begun or ended; when it matters, not while all wait for their first check."""
        self._told = self._panics
        message = _PANIC if self._panics else _CALM
        self._log.warn(message, pool=self.name, up=self._up, count=len(self.backends))

    def _make_tiers(self, balance: str | PolicyFactory, tools: PolicyTools) -> tuple[Tier, ...]:
        factory = extensions.policy(balance) if isinstance(balance, str) else balance
        known_as = balance if isinstance(balance, str) else getattr(balance, "__qualname__", repr(balance))
        where = f"pool {self.name}: policy {known_as}"
        ranks = ([b for b in self.backends if not b.backup], [b for b in self.backends if b.backup])
        try:
            return tuple(Tier(where, factory, rank, tools) for rank in ranks if rank)
        except Exception as error:
            raise PoolError(f"{where} cannot be made: {error!r}") from error

    def _refuse_nonsense(self) -> None:
        bounds.above_zero(f"pool {self.name}: connect_timeout", self.connect_timeout, PoolError)
        bounds.count(f"pool {self.name}: retries", self.retries, 0, error=PoolError)
        if self.send_proxy_protocol not in (None, *get_args(ProxyVersion)):
            wrong = repr(self.send_proxy_protocol)
            raise PoolError(f"pool {self.name}: send_proxy_protocol must be v1, v2 or None, got {wrong}")
        if not self.backends:
            raise PoolError(f"pool {self.name}: must have at least one backend")
        name, count = Counter(backend.name for backend in self.backends).most_common(1)[0]
        if count > 1:
            raise PoolError(f"pool {self.name}: backends must have different names, got {name} {count} times")
        if self._bounded_load is not None and not self._bounded_load >= 1.0:
            raise PoolError(f"pool {self.name}: bounded_load must be at least 1, got {self._bounded_load}")
        if not 0.0 <= self._panic_threshold <= 1.0:
            raise PoolError(f"pool {self.name}: panic_threshold must be 0 to 1, got {self._panic_threshold}")
