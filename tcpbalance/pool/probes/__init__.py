"""Health probes: each finds out in its own way whether a backend can serve."""

from __future__ import annotations

from tcpbalance.pool.probes.base import NoVerdict, Probe, ProbeFailed, Target
from tcpbalance.pool.probes.command import CommandProbe
from tcpbalance.pool.probes.endpoint import endpoint_for
from tcpbalance.pool.probes.expect import ExpectProbe
from tcpbalance.pool.probes.http import HttpProbe
from tcpbalance.pool.probes.status import StatusSet
from tcpbalance.pool.probes.tcp import TcpProbe
from tcpbalance.pool.probes.tls import TlsProbe

__all__ = [
    "CommandProbe",
    "ExpectProbe",
    "HttpProbe",
    "NoVerdict",
    "Probe",
    "ProbeFailed",
    "StatusSet",
    "Target",
    "TcpProbe",
    "TlsProbe",
    "endpoint_for",
]
