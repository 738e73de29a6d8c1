"""The operations of the API that are about the daemon's own log."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpbalance.config.log import LevelName
from tcpbalance.config.messages import must_be_one_of
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.backend_handlers import UNTIL_RELOAD
from tcpbalance.control.changes_log import log_change
from tcpbalance.control.config_orders import with_log_level
from tcpbalance.control.config_refusals import change_config
from tcpbalance.control.controls import Controls
from tcpbalance.control.request_body import read_object
from tcpbalance.control.routes import ApiRoute

_LEVELS = get_args(LevelName)
_WITH_CHANGES = ("debug", "info")
"""Levels with which the line of a change is in the log."""


class LogHandlers:
    """Serves the requests.

    :param controls: have the configuration.
    """

    _log = Logger()

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/log", lambda _: ApiAnswer.of(self._shown())),
            ApiRoute("PATCH", "/api/v1/log", self._change),
        ]

    def _shown(self) -> dict[str, Any]:
        log = self._controls.config.log
        return {"level": log.level, "format": log.format}

    def _change(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        level = read_object(request, ("level",))["level"]
        if level not in _LEVELS:
            raise ApiError(400, "bad_level", f"level {must_be_one_of(level, _LEVELS)}")
        what = f"sets the level of the log to {level}"
        if level not in _WITH_CHANGES:
            # What has come of it is not in the log then.
            self._log.info("admin: {peer} {what}", peer=request.peer, what=what)
        changed = log_change(request, what, partial(self._set_level, level))
        return changed.addCallback(lambda _: ApiAnswer.of({**self._shown(), **UNTIL_RELOAD}))

    def _set_level(self, level: LevelName) -> Deferred[Any]:
        return change_config(self._controls, with_log_level(level))
