"""The operations of the API that are about bans."""

from __future__ import annotations

from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpbalance.admission.report import ban_facts, client_text
from tcpbalance.config.messages import value_text
from tcpbalance.config.quantities import Duration
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.bans import read_bans_query, read_client, shown_ban
from tcpbalance.control.controls import Controls
from tcpbalance.control.parameters import check_parameters
from tcpbalance.control.request_body import read_object
from tcpbalance.control.routes import ApiRoute
from tcpbalance.errors import SettingError

_KEYS = ("frontend", "client", "for")


class BanHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    _log = Logger()

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/bans", self._bans),
            ApiRoute("POST", "/api/v1/bans", self._ban),
            ApiRoute("DELETE", "/api/v1/bans/{client}", self._lift),
        ]

    def _bans(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.bans(read_bans_query(request.query)).addCallback(ApiAnswer.of)

    def _ban(self, request: ApiRequest) -> ApiAnswer:
        wanted = read_object(request, _KEYS)
        missing = [key for key in _KEYS if key not in wanted]
        if missing:
            raise ApiError(400, "missing_key", f"the body must have {value_text(missing[0])}")
        frontend = wanted["frontend"]
        if not isinstance(frontend, str):
            raise ApiError(400, "bad_value", f"frontend must be a name, got {value_text(frontend)}")
        client, seconds = _client(wanted["client"]), _seconds(wanted["for"])
        self._controls.ban(frontend, client, seconds)
        self._log.info(
            "admin: {peer} has banned client {client} at frontend {frontend} for {seconds:g} s",
            peer=request.peer,
            client=client_text(client),
            frontend=frontend,
            seconds=seconds,
        )
        by = {"count": 1, "by": request.peer}
        self._controls.events.add("ban", {**ban_facts(frontend, client, seconds), **by})
        return ApiAnswer.of(shown_ban((frontend, client, seconds), time()))

    def _lift(self, request: ApiRequest) -> ApiAnswer:
        check_parameters(request.query, ("frontend",))
        client = _client(request.names["client"])
        frontends = self._controls.lift_ban(request.query.get("frontend"), client)
        if not frontends:
            raise ApiError(404, "no_such_ban", f"client {client_text(client)} is not banned")
        self._log.info(
            "admin: {peer} has lifted the ban of client {client} at frontend {frontends}",
            peer=request.peer,
            client=client_text(client),
            frontends=", ".join(frontends),
        )
        for frontend in frontends:
            lifted = {"frontend": frontend, "client": client_text(client), "by": request.peer}
            self._controls.events.add("ban_lifted", lifted)
        return ApiAnswer.of({"client": client_text(client), "frontends": list(frontends)})


def _client(value: Any) -> bytes:
    try:
        return read_client(value)
    except SettingError as error:
        raise ApiError(400, "bad_value", f"client {error}") from error


def _seconds(value: Any) -> float:
    try:
        seconds = Duration.parse(value)
    except SettingError as error:
        raise ApiError(400, "bad_value", f"for {error}") from error
    if not seconds:
        raise ApiError(400, "bad_value", "for must be longer than 0 seconds")
    return seconds
