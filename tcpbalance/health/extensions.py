"""Probes by name: ours, and those of third parties."""

from __future__ import annotations

from typing import Any

import attrs

from tcpbalance.pool.extensions import Extensions

PROBES = "tcpbalance.probes"

_OUR_PROBES = {
    "tcp": "tcpbalance.health.probes.tcp:TcpProbe",
    "tls": "tcpbalance.health.probes.tls:TlsProbe",
    "http": "tcpbalance.health.probes.http:HttpProbe",
    "expect": "tcpbalance.health.probes.expect:ExpectProbe",
    "command": "tcpbalance.health.probes.command:CommandProbe",
}


def probes() -> Extensions[type]:
    """Give every health probe there is, by the name that `check` gives it.

    Each is an attrs class, from which its keys are read.
    """
    return Extensions(PROBES, _OUR_PROBES, _require_attrs)


def _require_attrs(value: str, thing: Any) -> None:
    if not attrs.has(thing):
        raise TypeError(f"{value} must be an attrs class, got {thing!r}")
