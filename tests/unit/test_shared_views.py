"""Views that requests share, and how many there may be at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.long_answers import MAX_LONG_ANSWERS, READ_FOR, LongAnswers
from tcpbalance.control.report import EVERYTHING, Scope
from tcpbalance.control.running_config import RunningConfigHandler
from tcpbalance.control.shared_views import SharedViews

FEW = [
    Scope(frontends=(), pools=()),
    Scope(frontends=("web",), pools=()),
    Scope(frontends=(), pools=("web",), backend="a"),
]
MANY = [EVERYTHING, Scope(frontends=()), Scope(pools=()), Scope(frontends=(), pools=("web",))]


class Looks:
    """What looks at the state, which comes when a test has it come."""

    def __init__(self) -> None:
        self.asked: list[tuple[Scope, Deferred[Any]]] = []

    def view(self, scope: Scope) -> Deferred[Any]:
        view: Deferred[Any] = Deferred()
        self.asked.append((scope, view))
        return view

    def come(self, view: Any) -> None:
        self.asked.pop(0)[1].callback(view)


class Content(dict[str, Any]):
    """A view, of which it can be known whether it is kept."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers(clock: Clock) -> LongAnswers:
    return LongAnswers(clock.seconds)


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def views(looks: Looks, answers: LongAnswers) -> SharedViews:
    controls: Any = looks
    return SharedViews(controls, answers)


@pytest.fixture
def collected_by_counts_alone() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def at_once(answers: LongAnswers, error: ApiError | None = None) -> SharedViews:
    """Give those of one that looks at once, or cannot."""
    controls: Any = SimpleNamespace(view=lambda _: succeed(Content(of=1)) if error is None else fail(error))
    return SharedViews(controls, answers)


def made(view: Any) -> Iterator[bytes]:
    yield str(view["of"]).encode()
    yield b"end"


def ask(views: SharedViews, scope: Scope = EVERYTHING) -> Deferred[ApiAnswer]:
    return views.answer(scope, made, "text/plain")


def body(asked: Deferred[ApiAnswer]) -> list[bytes]:
    assert isinstance(asked.result, ApiAnswer)
    return list(asked.result.body)


def test_those_that_come_meanwhile_share_the_next_view(looks: Looks, views: SharedViews) -> None:
    first, second, third = (ask(views) for _ in range(3))
    other = ask(views, Scope(pools=()))
    assert [scope for scope, _ in looks.asked] == [EVERYTHING, Scope(pools=())]
    looks.come({"of": 1})
    assert (second.called, third.called) == (False, False)
    assert [scope for scope, _ in looks.asked] == [Scope(pools=()), EVERYTHING]
    looks.come({"of": "frontends"})
    looks.come({"of": 2})
    assert [body(each)[0] for each in (first, second, third, other)] == [b"1", b"2", b"2", b"frontends"]
    ask(views)
    assert len(looks.asked) == 1


def test_all_that_wait_for_a_view_get_the_reason_why_there_is_none(looks: Looks, views: SharedViews) -> None:
    asked = [ask(views) for _ in range(3)]
    for _ in range(2):
        looks.asked.pop(0)[1].errback(ApiError(503, "worker_silent", "ask again"))
    found: list[Any] = []
    for each in asked:
        each.addErrback(found.append)
    assert [str(failure.value) for failure in found] == 3 * ["ask again"]


def test_what_cannot_be_made_of_a_view_is_the_answer(looks: Looks, views: SharedViews) -> None:
    def refuse(view: Any) -> Any:
        raise ApiError(404, "no_such_pool", "there is no such pool")

    found: list[Any] = []
    views.answer(EVERYTHING, refuse, "text/plain").addErrback(found.append)
    looks.come({})
    assert found[0].value.status == 404


@pytest.mark.parametrize("scope", MANY)
@pytest.mark.usefixtures("collected_by_counts_alone")
def test_a_view_that_is_not_read_keeps_its_place(answers: LongAnswers, scope: Scope) -> None:
    views = at_once(answers)
    unread: list[Any] = []
    for _ in range(MAX_LONG_ANSWERS):
        ask(views, scope).addCallback(unread.append)
    with pytest.raises(ApiError, match="8 long answers are being read: ask again, or") as refused:
        ask(views, scope)
    assert (refused.value.status, refused.value.code) == (503, "too_many_unread")
    for few in FEW:
        assert ask(views, few).called
    list(unread.pop().body)  # is read
    assert ask(views, scope).addCallback(unread.append).called
    with pytest.raises(ApiError):
        ask(views, scope)
    begun = iter(unread.pop().body)
    next(begun)
    with pytest.raises(ApiError):
        ask(views, scope)
    del begun  # is given up
    assert ask(views, scope).called


@pytest.mark.usefixtures("collected_by_counts_alone")
def test_one_that_is_read_for_too_long_makes_place_for_another_one(
    clock: Clock, answers: LongAnswers
) -> None:
    kept: list[weakref.ref[Content]] = []

    def make(view: Any) -> Iterator[bytes]:
        kept.append(weakref.ref(view))
        return made(view)

    views, unread = at_once(answers), list[Any]()
    for _ in range(MAX_LONG_ANSWERS):
        views.answer(EVERYTHING, make, "text/plain").addCallback(unread.append)
        clock.advance(READ_FOR / MAX_LONG_ANSWERS)
    first, second = iter(unread[0].body), iter(unread[1].body)
    assert (next(first), next(second)) == (b"1", b"1")
    assert ask(views).addCallback(unread.append).called
    assert [view() is None for view in kept] == [True] + [False] * (MAX_LONG_ANSWERS - 1)
    with pytest.raises(ApiError, match="was read too slowly") as cut:
        next(first)
    assert cut.value.code == "read_too_slowly"
    with pytest.raises(ApiError, match="8 long answers are being read"):
        ask(views)
    assert list(second) == [b"end"]


def test_one_that_is_not_there_yet_keeps_its_place(clock: Clock, answers: LongAnswers) -> None:
    asked: list[Deferred[str]] = []

    def ask_for() -> Deferred[str]:
        asked.append(Deferred())
        return asked[-1]

    given = [answers.answer(ask_for, lambda text: [text.encode()]) for _ in range(MAX_LONG_ANSWERS)]
    clock.advance(2 * READ_FOR)
    with pytest.raises(ApiError):
        answers.check()
    asked[0].callback("made now")
    with pytest.raises(ApiError):
        answers.check()
    clock.advance(READ_FOR)
    answers.check()
    with pytest.raises(ApiError, match="read too slowly"):
        body(given[0])


def test_small_views_are_not_counted(answers: LongAnswers) -> None:
    views = at_once(answers)
    unread: list[Any] = []
    for scope in FEW * MAX_LONG_ANSWERS:
        ask(views, scope).addCallback(unread.append)
    assert ask(views).called


def test_one_that_cannot_be_looked_at_at_all_leaves_nothing(answers: LongAnswers) -> None:
    views = at_once(answers, ApiError(503, "x", "x"))
    for _ in range(2 * MAX_LONG_ANSWERS):
        ask(views).addErrback(lambda _: None)


@pytest.mark.usefixtures("collected_by_counts_alone")
def test_long_answers_that_are_not_shared_are_counted_from_when_they_are_asked_for(
    answers: LongAnswers,
) -> None:
    asked: list[Deferred[str]] = []

    def ask_for() -> Deferred[str]:
        asked.append(Deferred())
        return asked[-1]

    def make(text: str) -> Iterator[bytes]:
        yield text.encode()

    given = [answers.answer(ask_for, make) for _ in range(MAX_LONG_ANSWERS)]
    with pytest.raises(ApiError, match="8 long answers"):
        answers.answer(ask_for, make)
    asked.pop().errback(ApiError(503, "worker_silent", "ask again"))
    given.pop().addErrback(lambda _: None)
    given.append(answers.answer(ask_for, make))
    asked.pop(0).callback("read")
    assert body(given.pop(0)) == [b"read"]
    answers.check()


def test_what_is_asked_wrongly_is_not_counted(answers: LongAnswers) -> None:
    def refuse() -> Deferred[str]:
        raise ApiError(404, "no_such_frontend", "there is no such frontend")

    for _ in range(2 * MAX_LONG_ANSWERS):
        with pytest.raises(ApiError, match="no such frontend"):
            answers.answer(refuse, lambda _: [])


def test_configurations_that_are_not_read_are_counted(answers: LongAnswers) -> None:
    controls: Any = SimpleNamespace(shown_config=lambda: succeed({"workers": 2}))
    (route,) = RunningConfigHandler(controls, answers).routes()
    request = ApiRequest(method="GET", path="/api/v1/config")
    unread: list[Any] = [route.handler(request) for _ in range(MAX_LONG_ANSWERS)]
    with pytest.raises(ApiError, match="8 long answers"):
        route.handler(request)
    assert body(unread.pop()) == [b'{"workers":2}\n']
