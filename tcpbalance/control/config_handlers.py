"""The operations of the API that are about the configuration file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tcpbalance.config.difference import Difference
from tcpbalance.config.errors import ConfigError, Problem, key_text
from tcpbalance.config.plan import plan_document, plan_lines
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.changes_log import log_change
from tcpbalance.control.controls import Controls
from tcpbalance.control.reloading import ReloadOutcome
from tcpbalance.control.report import Scope
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.run_time_states import run_time_states
from tcpbalance.control.view import View

_NO_DIFFERENCE = Difference({}, {}, (), (), ())

_BACKENDS_ONLY = Scope(frontends=(), processes=False, counters=False)


class ConfigHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._is_comparing = False

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("POST", "/api/v1/reload", self._reload),
            ApiRoute("GET", "/api/v1/plan", self._plan),
        ]

    def _reload(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return log_change(request, "has the configuration file read again", self._have_reloaded)

    def _have_reloaded(self) -> Deferred[ApiAnswer]:
        return self._controls.configured.file.reload().addCallback(self._answer)

    def _answer(self, outcome: ReloadOutcome | None) -> Deferred[ApiAnswer]:
        if outcome is None:
            raise ApiError(503, "shutting_down", "the balancer is shutting down")
        if outcome.problems:
            raise _mistakes(outcome.error, outcome.problems)
        if outcome.difference is None:
            raise ApiError(409, "refused", outcome.error)
        about = {"config": self._controls.configured.shown()}
        return self._shown(outcome.difference, _NO_DIFFERENCE).addCallback(
            lambda shown: ApiAnswer.of({**shown, **about})
        )

    def _plan(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        if self._is_comparing:
            # One that hangs takes a thread, as a pipe does that nothing writes to.
            raise ApiError(503, "busy", "the configuration file is being read already: ask again")
        self._is_comparing = True
        compared = self._controls.configured.file.compare(self._controls.config)
        compared.addBoth(self._has_compared)
        compared.addErrback(_refuse)
        return compared.addCallback(lambda found: self._shown(found, found).addCallback(ApiAnswer.of))

    def _has_compared(self, outcome: Any) -> Any:
        self._is_comparing = False
        return outcome

    def _shown(self, found: Difference, to_file: Difference) -> Deferred[dict[str, Any]]:
        """Show a difference, with what a reload keeps of what was set at run time.

        :param to_file: what is different between the configuration in use now and the file.
        """

        def put_together(view: View) -> dict[str, Any]:
            *_, summary = plan_lines(found)
            kept = [*run_time_states(self._controls.config, view["pools"], to_file)]
            return {"summary": summary, "plan": {**plan_document(found), "run_time": kept}}

        return self._controls.view(_BACKENDS_ONLY).addCallback(put_together)


def _refuse(failure: Failure) -> NoReturn:
    failure.trap(ConfigError)  # type: ignore[no-untyped-call]  # Twisted's
    assert isinstance(failure.value, ConfigError)
    raise _mistakes(str(failure.value), failure.value.problems)


def _mistakes(text: str, problems: Iterable[Problem]) -> ApiError:
    """Make the error for a file with mistakes, which has all of them."""
    listed = [
        {"file": it.file, "line": it.line, "key": key_text(it.path), "message": it.message} for it in problems
    ]
    return ApiError(422, "config_mistakes", text, more={"mistakes": listed})
