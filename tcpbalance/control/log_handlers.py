"""The operations of the API that are about the daemon's own log."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, get_args

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpbalance.config.log import LevelName
from tcpbalance.config.messages import must_be_one_of
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.backend_handlers import UNTIL_RELOAD, change_refused
from tcpbalance.control.config_orders import with_log_level
from tcpbalance.control.controls import Controls
from tcpbalance.control.request_body import read_object
from tcpbalance.control.routes import ApiRoute

_LEVELS = get_args(LevelName)


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
        # Not with the outcome, as other changes are: a level that leaves this line out applies by then.
        self._log.info("admin: {peer} sets the level of the log to {wanted}", peer=request.peer, wanted=level)
        changed = self._controls.change_config(with_log_level(level), nullcontext)
        changed.addErrback(change_refused)
        return changed.addCallback(lambda _: ApiAnswer.of({**self._shown(), **UNTIL_RELOAD}))
