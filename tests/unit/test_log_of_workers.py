"""What a worker leaves to the supervisor's log."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import LogLevel, PredicateResult

from tcpbalance.workers.worker import levels


@pytest.mark.parametrize(
    ("namespace", "level", "is_logged"),
    [
        ("tcpbalance.net.resolver.resolver.Resolver", LogLevel.warn, False),
        ("tcpbalance.net.resolver.resolution.Resolution", LogLevel.critical, True),
        ("tcpbalance.reload.Reloader", LogLevel.error, False),
        ("tcpbalance.proxy.session", LogLevel.warn, True),
        ("tcpbalance.proxy.session", LogLevel.info, False),
    ],
)
def test_what_the_supervisor_logs_is_not_logged_by_each_worker(
    namespace: str, level: Any, is_logged: bool
) -> None:
    verdict = levels()({"log_namespace": namespace, "log_level": level})
    assert (verdict is not PredicateResult.no) is is_logged
