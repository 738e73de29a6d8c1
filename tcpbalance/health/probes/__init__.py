"""Health probes: each finds out in its own way whether a backend can serve."""

from __future__ import annotations

from tcpbalance.health.probes.base import NoVerdict, Probe, ProbeFailed, Target
from tcpbalance.health.probes.command import CommandProbe
from tcpbalance.health.probes.endpoint import endpoint_for
from tcpbalance.health.probes.expect import ExpectProbe
from tcpbalance.health.probes.http import HttpProbe
from tcpbalance.health.probes.status import StatusSet
from tcpbalance.health.probes.tcp import TcpProbe
from tcpbalance.health.probes.tls import TlsProbe

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
