"""Errors come back from another process as they were: configurations may be read in one."""

from __future__ import annotations

import pickle

import pytest

from tcpbalance import AccessLogError, ConfigError, SettingError, TcpbalanceError
from tcpbalance.config.errors import BrokenRules, InvalidValue, Mistake
from tcpbalance.net.tls.errors import HandshakeFailed


@pytest.mark.parametrize(
    "error",
    [
        SettingError("no"),
        ConfigError.of("edge.toml", 3, "no"),
        AccessLogError("access.log", "permission denied"),
        InvalidValue("rise", "no"),
        BrokenRules([Mistake(("pools", "web"), "no")]),
        HandshakeFailed("certificate expired"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_pickled(error: TcpbalanceError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
