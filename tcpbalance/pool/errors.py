"""What is wrong with a pool as it was put together."""

from __future__ import annotations

from tcpbalance.errors import SettingError


class PoolError(SettingError):
    """A pool or backend was given a value that it cannot work with."""
