"""Services in steps: several are prepared together or not at all, and only what is prepared is committed."""

from __future__ import annotations

import pytest
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed

from support.sockets import fired
from tcpbalance.errors import TcpbalanceError
from tcpbalance.services.stepped import SteppedService, prepare_all


class Recorded(SteppedService):
    """Writes down what it does.

    :param done: takes what was done, by all that share it.
    """

    def __init__(self, label: str, done: list[str]) -> None:
        self.label = label
        self.done = done
        self.refused = False
        self.ended: Deferred[None] = Deferred()
        self.given_back: Deferred[None] = succeed(None)

    def take(self) -> None:
        if self.refused:
            raise TcpbalanceError(f"{self.label} is refused")
        self.done.append(f"take {self.label}")

    def give_back(self) -> Deferred[None]:
        self.done.append(f"give back {self.label}")
        return self.given_back

    def begin(self) -> None:
        self.done.append(f"begin {self.label}")

    def end(self) -> Deferred[None]:
        self.done.append(f"end {self.label}")
        return self.ended


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def three(done: list[str]) -> list[Recorded]:
    return [Recorded(label, done) for label in "abc"]


def test_all_are_prepared_and_nothing_begins(three: list[Recorded], done: list[str]) -> None:
    prepare_all(three)
    assert done == ["take a", "take b", "take c"]
    assert not any(service.running for service in three)


def test_where_one_is_refused_those_before_it_give_back_what_they_took(
    three: list[Recorded], done: list[str]
) -> None:
    three[2].refused = True
    with pytest.raises(TcpbalanceError, match="c is refused"):
        prepare_all(three)
    assert done == ["take a", "take b", "give back b", "give back a"]


def test_after_a_refusal_all_can_be_prepared(three: list[Recorded], done: list[str]) -> None:
    three[1].refused = True
    with pytest.raises(TcpbalanceError):
        prepare_all(three)
    three[1].refused = False
    done.clear()
    prepare_all(three)
    assert done == ["take a", "take b", "take c"]


def test_what_runs_is_not_abandoned(three: list[Recorded], done: list[str]) -> None:
    three[0].startService()
    three[1].refused = True
    with pytest.raises(TcpbalanceError):
        prepare_all(three)
    assert three[0].running
    assert done == ["take a", "begin a"]


def test_preparing_twice_takes_once(three: list[Recorded], done: list[str]) -> None:
    three[0].prepare()
    three[0].privilegedStartService()
    three[0].startService()
    assert done == ["take a", "begin a"]


def test_what_is_not_prepared_cannot_be_committed(three: list[Recorded], done: list[str]) -> None:
    with pytest.raises(AssertionError):
        three[0].commit()
    assert done == []


def test_retiring_what_was_only_prepared_gives_it_back(three: list[Recorded], done: list[str]) -> None:
    three[0].prepare()
    assert three[0].retire().called
    assert three[0].retire().called
    assert done == ["take a", "give back a"]


def test_retiring_what_was_only_prepared_takes_as_long_as_giving_it_back(three: list[Recorded]) -> None:
    three[0].given_back = Deferred()
    three[0].prepare()
    retired = fired(three[0].stopService())
    assert retired == []
    three[0].given_back.callback(None)
    assert retired == [None]


def test_retiring_takes_as_long_as_the_end_of_the_work(three: list[Recorded], done: list[str]) -> None:
    three[0].startService()
    ended = fired(three[0].stopService())
    assert ended == []
    three[0].ended.callback(None)
    assert ended == [None]
    assert done == ["take a", "begin a", "end a"]


def test_after_retiring_it_can_be_taken_up_again(three: list[Recorded], done: list[str]) -> None:
    for _ in range(2):
        three[0].startService()
        three[0].stopService()
    assert done == ["take a", "begin a", "end a"] * 2


def test_a_parent_that_runs_commits_what_is_added_and_retires_what_is_removed(
    three: list[Recorded], done: list[str]
) -> None:
    parent = MultiService()
    three[0].setServiceParent(parent)
    assert not done
    parent.startService()
    prepare_all(three[1:2])
    three[1].setServiceParent(parent)
    three[0].disownServiceParent()
    assert done == ["take a", "begin a", "take b", "begin b", "end a"]
