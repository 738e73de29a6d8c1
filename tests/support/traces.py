"""What is logged of the clients in ``debug_clients``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

from twisted.logger import capturedLogs, formatEvent


@contextmanager
def steps(scene: Any, *networks: str) -> Iterator[list[tuple[float, str]]]:
    """Have clients logged, and give the steps in the end, each with its time."""
    scene.frontend.context.debug.replace(map(ip_network, networks))
    found: list[tuple[float, str]] = []
    with capturedLogs() as logged:
        yield found
    traced = [event for event in logged if event["log_namespace"] == "tcpbalance.trace"]
    found += [(event["after"], event["step"]) for event in traced]
    for event in traced:
        start = f"frontend frontend: client {event['client']}, +{event['after']:.6f} s: "
        assert formatEvent(event) == start + event["step"]


def texts(found: list[tuple[float, str]]) -> list[str]:
    """Give the steps without what depends on the data path: the addresses of our own ends."""
    times = [after for after, _ in found]
    assert times == sorted(times)
    return [
        re.sub(r"(accepted at|connected from) 192\.0\.2\.\d+:\d+", r"\1 ADDRESS", step) for _, step in found
    ]
