"""Peak EWMA: two at random, and the one that connects or responds sooner for the load it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import OrderPreview, PolicyTools
from tcpbalance.pool.policies.draw import WeightedDraw, cheaper_of_two, likeliest_first

FASTEST = 0.0001
"""Seconds. Differences below it say more of our own event loop than of the backend. And since the average of
an idle backend decays towards nothing, without it one that has begun to hang would get every connection."""

FIRST_CONNECTION = 1.0
"""Seconds that a backend never measured is taken to need while the first connection to it is under way, so
that one tries it and not all at once."""


class PeakEwmaPolicy:
    """The cheaper of two drawn by weight, as in Finagle: a time, times the connections there would be.

    The time is an average that jumps to every peak (`PeakEwma`): of responses, where requests are sent to the
    backend, which say more about it than connecting; else of connecting. Connections that are there count by
    weight, the one to come counts one: among idle backends weights decide in the draw alone. A backend never
    measured and idle costs nothing, so that it gets measured.

    :cvar times_responses: see ``Policy``.
    """

    times_responses: ClassVar[bool] = True

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._backends = backends
        self._draw = WeightedDraw(backends, tools.rng)
        self._clock = tools.clock
        self._mean_weight = sum(backend.weight for backend in backends) / len(backends)

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the cheaper of two, then the other, then the others at random."""
        return cheaper_of_two(self._draw, self._cost)

    def preview(self, client: bytes | None) -> OrderPreview:
        """See ``PreviewablePolicy``."""
        by = "of two drawn at random by weight, the one that needs less time for the connections that it has"
        return OrderPreview(likeliest_first(self._backends, self._cost), len(self._backends) == 1, by)

    def _cost(self, backend: Backend) -> float:
        shared = backend.shared
        active = backend.active if shared is None else shared.total
        average = backend.response_time
        if not (average.measured or backend.stats.requests_total):
            average = backend.connect_time
        if average.measured:
            needs = max(FASTEST, average.value(self._clock()))
        elif active:
            needs = FIRST_CONNECTION
        else:
            return 0.0
        return needs * (1.0 + active * self._mean_weight / backend.weight)
