"""Refuses settings that a pool cannot work with, or that would have no effect."""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

from tcpbalance import bounds
from tcpbalance.config.pools import CONNECT_FAILED, RESET_BEFORE_ANSWER, SOURCE_HASH, HealthConfig, RetryOn
from tcpbalance.errors import SettingError
from tcpbalance.pool.policies.base import PolicyFactory
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.wire.proxy_protocol import ProxyVersion


def check_dialling(
    where: str, connect_timeout: float, dial_timeout: float, retries: int, retry_on: Collection[str]
) -> None:
    """Check how backends are dialled.

    :param where: the pool, for the error.
    :raises SettingError: for a value that makes no sense.
    """
    bounds.above_zero(f"{where}: dial_timeout", dial_timeout)
    if dial_timeout < connect_timeout:
        raise SettingError(
            f"{where}: dial_timeout must be at least connect_timeout, {connect_timeout:g}, "
            f"got {dial_timeout:g}"
        )
    bounds.count(f"{where}: retries", retries, 0)
    unknown = [word for word in retry_on if word not in get_args(RetryOn)]
    if isinstance(retry_on, str) or unknown or CONNECT_FAILED not in retry_on:
        raise SettingError(
            f"{where}: retry_on must be a collection of {CONNECT_FAILED!r} and, where wanted, "
            f"{RESET_BEFORE_ANSWER!r}, got {retry_on!r}"
        )


def check_queue(where: str, queue: int, queue_timeout: float) -> None:
    """Check the queue.

    :raises SettingError: for a value that makes no sense.
    """
    bounds.count(f"{where}: queue", queue, 0)
    bounds.above_zero(f"{where}: queue_timeout", queue_timeout)


def check_balancing(
    where: str,
    balance: str | PolicyFactory,
    bounded_load: float | None,
    panic_threshold: float,
    slow_start: float | None,
) -> None:
    """Check how a backend is chosen.

    :raises SettingError: for a value that makes no sense, or has no effect.
    """
    if bounded_load is not None:
        if not bounded_load >= 1.0:
            raise SettingError(f"{where}: bounded_load must be at least 1, got {bounded_load}")
        # A policy of the application's own may need a bound.
        if isinstance(balance, str) and balance != SOURCE_HASH:
            raise SettingError(f"{where}: bounded_load has no effect with {balance}, only with {SOURCE_HASH}")
    if not 0.0 <= panic_threshold <= 1.0:
        raise SettingError(f"{where}: panic_threshold must be 0 to 1, got {panic_threshold}")
    if slow_start is not None:
        if balance in (SOURCE_HASH, SourceHash):
            raise SettingError(f"{where}: slow_start has no effect with source_hash, leave out one of them")
        bounds.above_zero(f"{where}: slow_start", slow_start)


def check_proxy_header(
    where: str, send_proxy_protocol: ProxyVersion | None, pass_tlvs: Collection[int]
) -> None:
    """Check the header with which a connection to a backend opens.

    :raises SettingError: for a value that makes no sense, or has no effect.
    """
    if send_proxy_protocol not in (None, *get_args(ProxyVersion)):
        raise SettingError(
            f"{where}: send_proxy_protocol must be v1, v2 or None, got {send_proxy_protocol!r}"
        )
    if pass_tlvs and send_proxy_protocol != "v2":
        raise SettingError(f"{where}: pass_tlvs has no effect without send_proxy_protocol='v2'")


def check_health(where: str, health: object) -> None:
    """Check that health is of a kind that a pool knows.

    :raises SettingError: for another.
    """
    if not isinstance(health, HealthConfig) and health not in ("external", None):
        raise SettingError(f"{where}: health must be a HealthConfig, 'external' or None, got {health!r}")
