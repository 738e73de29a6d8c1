"""The operations of the API that are about bans."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from tcpbalance.admission.report import ban_facts, client_text
from tcpbalance.config.messages import value_text
from tcpbalance.config.quantities import Duration
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.bans import Ban, read_banned, read_bans_query, read_by, shown_ban, shown_end
from tcpbalance.control.changes_log import log_change
from tcpbalance.control.controls import Controls
from tcpbalance.control.parameters import check_parameters
from tcpbalance.control.request_body import read_object
from tcpbalance.control.routes import ApiRoute
from tcpbalance.errors import SettingError

_KEYS = ("frontend", "client", "for", "replace")


@frozen
class BanHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    _controls: Controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/bans", self._bans),
            ApiRoute("POST", "/api/v1/bans", self._ban),
            ApiRoute("DELETE", "/api/v1/bans/{client}", self._lift),
        ]

    def _bans(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.bans(read_bans_query(request.query)).addCallback(ApiAnswer.of)

    def _ban(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        wanted = read_object(request, _KEYS)
        missing = [key for key in ("client", "for") if key not in wanted]
        if missing:
            raise ApiError(400, "missing_key", f"the body must have {value_text(missing[0])}")
        frontend = wanted.get("frontend")
        if not isinstance(frontend, str | None):
            raise ApiError(400, "bad_value", f"frontend must be a name, got {value_text(frontend)}")
        replace = wanted.get("replace", False)
        if not isinstance(replace, bool):
            raise ApiError(400, "bad_value", f"replace must be true or false, got {value_text(replace)}")
        banned, seconds = _banned(wanted["client"]), _seconds(wanted["for"])

        def ban() -> Deferred[list[Ban]]:
            found = self._controls.ban(frontend, banned, seconds, replace=replace)
            bans = [(name, key, left if left > seconds + 0.001 else seconds) for name, key, left in found]
            for name, key, left in bans:
                by = {"count": 1, "by": request.peer}
                self._controls.events.add("ban", {**ban_facts(name, key, left), **by})
            return succeed(bans)

        what = f"bans client {client_text(banned)} at {_where(frontend)} for {seconds:g} s"
        banned_for = log_change(request, what, ban, partial(_outcome, seconds))
        return banned_for.addCallback(lambda bans: _answer(frontend, banned, bans))

    def _lift(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        check_parameters(request.query, ("frontend", "by"))
        by = read_by(request.query)
        banned, frontend = _banned(request.names["client"]), request.query.get("frontend")
        text = client_text(banned)

        def lift() -> Deferred[ApiAnswer]:
            frontends = self._controls.lift_ban(frontend, banned, by)
            if not frontends:
                raise ApiError(
                    404, "no_such_ban", f"client {text} is not banned{'' if by is None else f' by {by}'}"
                )
            for name in frontends:
                lifted = {"frontend": name, "client": text, "by": request.peer}
                self._controls.events.add("ban_lifted", lifted)
            return succeed(ApiAnswer.of({"client": text, "frontends": list(frontends)}))

        return log_change(request, f"lifts the ban of client {text} at {_where(frontend)}", lift)


def _outcome(seconds: float, bans: Sequence[Ban]) -> str:
    """Say where a ban that there was before lasts longer than one of so many seconds."""
    longer = [f"{left:.0f} s at frontend {name}" for name, _, left in bans if left != seconds]
    return f"done, it was banned for longer before: {', '.join(longer)}" if longer else "done"


def _answer(frontend: str | None, banned: bytes, bans: Sequence[Ban]) -> ApiAnswer:
    """Show what counts at each frontend, and the first of these ends."""
    now = time()
    first = shown_end(banned, min(left for _, _, left in bans), now)
    shown = [shown_ban(ban, now) for ban in bans]
    return ApiAnswer.of(
        {"frontend": frontend, **first, "frontends": [name for name, _, _ in bans], "bans": shown}
    )


def _where(frontend: str | None) -> str:
    return "all frontends" if frontend is None else f"frontend {frontend}"


def _banned(value: Any) -> bytes:
    try:
        return read_banned(value)
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
