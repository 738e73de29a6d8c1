"""A policy for one active server and any number of standbys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcpbalance import Backend, PolicyTools


class ActiveStandby:
    """All connections go to the first backend, in the configured order, that can serve."""

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._backends = backends

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the backends in the configured order."""
        yield from self._backends
