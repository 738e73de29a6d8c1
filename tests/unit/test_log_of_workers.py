"""What a worker leaves to the supervisor's log."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import LogLevel, PredicateResult

from tcpbalance.config.log import TRACE, LevelName
from tcpbalance.workers.worker_log import levels


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
    assert is_sent("info", namespace, level) is is_logged


def is_sent(wanted: LevelName, namespace: str, level: Any) -> bool:
    verdict = levels(wanted)({"log_namespace": namespace, "log_level": level})
    return verdict is not PredicateResult.no


def test_a_worker_logs_more_where_all_is_wanted_and_less_where_less_is() -> None:
    assert is_sent("debug", "tcpbalance.proxy.session", LogLevel.debug)
    assert not is_sent("error", "tcpbalance.proxy.session", LogLevel.warn)
    assert not is_sent("debug", "tcpbalance.reload.Reloader", LogLevel.error)


@pytest.mark.parametrize("wanted", ["debug", "info", "warn", "error", "critical"])
def test_a_worker_logs_traces_whatever_the_level(wanted: LevelName) -> None:
    assert is_sent(wanted, TRACE, LogLevel.info)
