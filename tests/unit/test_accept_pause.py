"""Doors are shut as long as anybody has a reason, and nobody undoes the reason of another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from tcpbalance.proxy.accept_pause import AcceptPause

HERE = IPv4Address("TCP", "10.0.0.1", 80)


class Acceptor:
    """Notes how often it was shut and opened."""

    def __init__(self, host: IAddress = HERE) -> None:
        self.calls: list[str] = []
        self._host = host

    def getHost(self) -> IAddress:
        return self._host

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    @property
    def shut(self) -> bool:
        return self.calls[-1:] == ["pause"]


def latch_with(*listeners: Acceptor) -> AcceptPause:
    accept_pause = AcceptPause()
    for door in listeners:
        accept_pause.pause_on(door)
    return accept_pause


def test_every_door_is_shut_and_opened() -> None:
    listeners = [Acceptor(), Acceptor()]
    accept_pause = latch_with(*listeners)
    accept_pause.pause("full")
    accept_pause.resume("full")
    assert [door.calls for door in listeners] == [["pause", "resume"]] * 2


def test_the_last_reason_opens() -> None:
    door = Acceptor()
    accept_pause = latch_with(door)
    accept_pause.pause("full")
    accept_pause.pause("overload")
    accept_pause.resume("full")
    assert door.calls == ["pause"]
    accept_pause.resume("overload")
    assert door.calls == ["pause", "resume"]


def test_a_reason_given_twice_is_one() -> None:
    door = Acceptor()
    accept_pause = latch_with(door)
    accept_pause.pause("full")
    accept_pause.pause("full")
    accept_pause.resume("full")
    assert door.calls == ["pause", "resume"]


def test_a_reason_that_does_not_stand_cannot_be_withdrawn() -> None:
    door = Acceptor()
    latch_with(door).resume("full")
    assert door.calls == []


def test_a_door_that_comes_later_is_as_the_others() -> None:
    accept_pause, early, late = AcceptPause(), Acceptor(), Acceptor()
    accept_pause.pause_on(early)
    accept_pause.pause("full")
    accept_pause.pause_on(late)
    assert late.calls == ["pause"]
    accept_pause.resume("full")
    assert late.calls == ["pause", "resume"]
    open_one = Acceptor()
    accept_pause.pause_on(open_one)
    assert open_one.calls == []


def test_a_door_that_has_left_is_left_alone() -> None:
    door = Acceptor()
    accept_pause = latch_with(door)
    accept_pause.pause("full")
    accept_pause.leave(door)
    accept_pause.resume("full")
    assert door.calls == ["pause"]
    with pytest.raises(ValueError, match="not in list"):
        accept_pause.leave(door)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["full", "overload", "third"]))))
def test_it_is_shut_exactly_while_a_reason_stands(steps: list[tuple[bool, str]]) -> None:
    door = Acceptor()
    standing: set[str] = set()
    accept_pause = latch_with(door)
    for given_now, reason in steps:
        (accept_pause.pause if given_now else accept_pause.resume)(reason)
        (standing.add if given_now else standing.discard)(reason)
        assert door.shut is bool(standing)
    assert all(one != other for one, other in zip(door.calls, door.calls[1:], strict=False))


@pytest.mark.parametrize(
    ("port", "address", "expected"),
    [
        (HERE, HERE, True),
        (HERE, IPv4Address("TCP", "10.0.0.1", 81), False),
        (HERE, IPv4Address("TCP", "10.0.0.2", 80), False),
        (IPv4Address("TCP", "0.0.0.0", 80), HERE, True),
        (IPv4Address("TCP", "0.0.0.0", 81), HERE, False),
        (IPv6Address("TCP", "::", 80), IPv6Address("TCP", "fd00::1", 80), True),
        (IPv6Address("TCP", "::", 80), HERE, False),
        (UNIXAddress("/run/a"), UNIXAddress("/run/a"), True),
        (UNIXAddress("/run/a"), UNIXAddress("/run/b"), False),
        (IPv4Address("TCP", "0.0.0.0", 80), UNIXAddress("/run/a"), False),
    ],
    ids=str,
)
def test_clients_are_accepted_where_a_port_listens(port: IAddress, address: IAddress, expected: bool) -> None:
    assert (
        latch_with(Acceptor(IPv4Address("TCP", "10.9.9.9", 1)), Acceptor(port)).accepts_at(address)
        is expected
    )


def test_clients_are_not_accepted_in_a_pause_or_once_the_port_is_closed() -> None:
    door = Acceptor()
    accept_pause = latch_with(door)
    accept_pause.pause("full")
    assert not accept_pause.accepts_at(HERE)
    accept_pause.resume("full")
    assert accept_pause.accepts_at(HERE)
    accept_pause.leave(door)
    assert not accept_pause.accepts_at(HERE)
