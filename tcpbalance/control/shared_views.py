"""Views of the state that several requests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from tcpbalance.control.api_request import ApiAnswer
from tcpbalance.control.controls import Controls
from tcpbalance.control.long_answers import LongAnswer, LongAnswers
from tcpbalance.control.report import Scope
from tcpbalance.control.view import View

Make = Callable[[View], Iterable[bytes]]
"""Makes the body of an answer of a view, which several requests may share: it changes nothing of it."""


class SharedViews:
    """Looks at the state for requests. Those for the same part that come while it is being looked at share
    the next view, which is begun after they have come.

    :param controls: what is asked.
    :param long_answers: bounds how many views of many backends there are at a time.
    """

    def __init__(self, controls: Controls, long_answers: LongAnswers) -> None:
        self._controls = controls
        self._long_answers = long_answers
        self._waiting: dict[Scope, list[Deferred[Any]]] = {}

    def answer(self, scope: Scope, make: Make, content_type: str) -> Deferred[ApiAnswer]:
        """Answer by a part of the state.

        :raises ApiError: too many views are kept.
        """
        if scope.has_many:
            self._long_answers.check()
        asked: Deferred[Any] = Deferred()
        if scope in self._waiting:
            self._waiting[scope].append(asked)
        else:
            self._look_for(scope, [asked])
        return asked.addCallback(
            lambda kept: ApiAnswer(
                content_type=content_type, body=self._long_answers.body(kept, make(kept.content))
            )
        )

    def _look_for(self, scope: Scope, asked: list[Deferred[Any]]) -> None:
        self._waiting[scope] = []
        view: Deferred[Any] = maybeDeferred(self._controls.view, scope)
        view.addCallback(self._keep, scope)
        view.addBoth(self._give, scope, asked)

    def _keep(self, view: View, scope: Scope) -> LongAnswer:
        kept = LongAnswer(view)
        if scope.has_many:
            self._long_answers.keep(kept)
        return kept

    def _give(self, kept: LongAnswer | Failure, scope: Scope, asked: list[Deferred[Any]]) -> None:
        waiting = self._waiting.pop(scope)
        if waiting:
            self._look_for(scope, waiting)
        for each in asked:
            each.callback(kept)
