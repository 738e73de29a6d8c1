"""Bounds how much of the state is kept at a time for answers that are not written yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakSet

from attrs import define
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from tcpbalance.control.api_request import ApiAnswer, ApiError
from tcpbalance.control.controls import Controls
from tcpbalance.control.report import Scope
from tcpbalance.control.view import View

MAX_VIEWS = 8
"""Views of many backends that are kept for answers. A client that reads slowly keeps one for as long as its
answer may take; one of a thousand backends takes 2 MB."""

Make = Callable[[View], Iterable[bytes]]
"""Makes the body of an answer of a view, which several requests may share: it changes nothing of it."""


@define(eq=False, weakref_slot=True)
class _KeptView:
    """A view, kept for as long as an answer is made of it."""

    view: View


class SharedViews:
    """Looks at the state for requests. Those for the same part that come while it is being looked at share
    the next view, which is begun after they have come.

    :param controls: what is asked.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._kept: WeakSet[_KeptView] = WeakSet()
        self._waiting: dict[Scope, list[Deferred[Any]]] = {}

    def answer(self, scope: Scope, make: Make, content_type: str) -> Deferred[ApiAnswer]:
        """Answer by a part of the state.

        :raises ApiError: too many views are kept.
        """
        if scope.has_many and len(self._kept) >= MAX_VIEWS:
            raise ApiError(
                503,
                "too_many_unread",
                f"{MAX_VIEWS} views are being read: ask again, or ask for one backend or frontend",
            )
        asked: Deferred[Any] = Deferred()
        if scope in self._waiting:
            self._waiting[scope].append(asked)
        else:
            self._look_for(scope, [asked])
        return asked.addCallback(
            lambda kept: ApiAnswer(content_type=content_type, body=_body(kept, make(kept.view)))
        )

    def _look_for(self, scope: Scope, asked: list[Deferred[Any]]) -> None:
        self._waiting[scope] = []
        view: Deferred[Any] = maybeDeferred(self._controls.view, scope)
        view.addCallback(self._keep, scope)
        view.addBoth(self._give, scope, asked)

    def _keep(self, view: View, scope: Scope) -> _KeptView:
        kept = _KeptView(view)
        if scope.has_many:
            self._kept.add(kept)
        return kept

    def _give(self, kept: _KeptView | Failure, scope: Scope, asked: list[Deferred[Any]]) -> None:
        waiting = self._waiting.pop(scope)
        if waiting:
            self._look_for(scope, waiting)
        for each in asked:
            each.callback(kept)


def _body(kept: _KeptView, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give the pieces, and keep the view that they are made of until then."""
    yield from pieces
