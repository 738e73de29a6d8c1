"""The probe that only connects."""

from __future__ import annotations

import attrs
from attrs import frozen

from tcpbalance.health.probes.base import Target
from tcpbalance.health.probes.causes import named_causes
from tcpbalance.health.probes.connection import ProbeConnection, connected
from tcpbalance.health.probes.endpoint import endpoint_for


@frozen
class TcpProbe:
    """Passes when the backend accepts a connection, which is closed again at once."""

    async def check(self, target: Target) -> None:
        """See `Probe`.

        :raises ProbeFailed: it does not accept.
        """
        endpoint = endpoint_for(attrs.evolve(target, tls=None))
        with named_causes():
            async with connected(endpoint, ProbeConnection(), target):
                pass
