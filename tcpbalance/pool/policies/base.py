"""The seam where a balancing policy is plugged in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple, Protocol, TypeAlias

from attrs import frozen

from tcpbalance.pool.backend import Backend


@frozen
class PolicyTools:
    """What a policy may use of the world.

    :ivar clock: the clock; it only goes forward.
    :ivar rng: the source of randomness.
    :ivar first_turn: the part of a round after which turns begin, from 0 up to 1; each process has its own.
    """

    clock: Callable[[], float]
    rng: Random
    first_turn: float = 0.0


class Policy(Protocol):
    """Puts the backends in order for each connection; never looks at health or fullness.

    One instance serves one set of backends that never changes: a pool's primaries, or its backups.

    A class with ``times_responses = True`` has ``Backend.response_time`` kept where requests are served.
    """

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the backends lazily, best first, each at most once.

        Code after a ``yield`` runs only when that candidate was passed over: because it is down or full, or
        because connecting to it failed. Other connections may ask meanwhile.

        :param client: the client's packed address, None when it has none (a unix socket).
        """
        ...


class OrderPreview(NamedTuple):
    """What a policy would yield.

    :ivar backends: best first; where that is drawn at random, those which are more likely first.
    :ivar exact: whether the next connection is offered them in this order, if all others stay as they are.
    :ivar by: what decides, for people.
    """

    backends: Sequence[Backend]
    exact: bool
    by: str


class PreviewablePolicy(Policy, Protocol):
    """A policy that can say what it would yield."""

    def preview(self, client: bytes | None) -> OrderPreview:
        """Give what ``candidates`` would yield if it was asked now for all; nothing changes by that."""
        ...


class QuickPolicy(Policy, Protocol):
    """A policy whose first candidate can be had without a generator; what most connections need is that."""

    def first(self, client: bytes | None) -> Backend:
        """Give what ``candidates`` would yield first, and count it as yielded."""
        ...

    def others(self, client: bytes | None, first: Backend) -> Iterator[Backend]:
        """Yield the others, once what `first` has given was passed over."""
        ...


PolicyFactory: TypeAlias = Callable[[Sequence[Backend], PolicyTools], Policy]
"""Makes a policy of the backends, of which there is at least one; most often the policy's class."""


class PreparedPolicyFactory(Protocol):
    """Makes policies with tables that take long to make, and depend on names and weights alone."""

    def prepare_tables(self, backends: Sequence[Backend], rest: Callable[[], object], /) -> object:
        """Make the tables for some backends; called in a thread, where other backends of the same names and
        weights are about to serve.

        :param rest: called often meanwhile, so that the reactor's thread can go on.
        :returns: what keeps the tables until the policy is made.
        """
        ...

    def __call__(self, backends: Sequence[Backend], tools: PolicyTools, /) -> Policy:
        """Make the policy."""
        ...
