"""The connection to another process: in order, bounded, and its end is reported once."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from support.descriptors import no_descriptor_free, open_descriptors
from support.watcher import Watcher
from tcpbalance.workers import messages
from tcpbalance.workers.channel import AGAIN_AFTER, MAX_ATTEMPTS, MAX_WAITING, MESSAGES_A_TURN, Channel
from tcpbalance.workers.messages import MAX_MESSAGE, Kept, Message, MessageError


class Ends:
    """A channel, the socket of its other end, and what has been reported."""

    def __init__(self) -> None:
        self.reactor = Watcher()
        ours, self.theirs = messages.pair()
        self.theirs.setblocking(False)
        self.received: list[Any] = []
        self.ends = 0
        self.lost: list[str] = []
        self.on_message: Callable[[Message], None] = lambda message: self.received.append(message.content)
        self.channel = Channel(cast(Any, self.reactor), ours, self._take, self._ended, self.lost.append)

    def _take(self, message: Message) -> None:
        self.on_message(message)

    def _ended(self) -> None:
        self.ends += 1

    def turn(self) -> None:
        self.reactor.turn()

    def arrived(self) -> Iterator[Message]:
        """What has come to the other end."""
        while True:
            try:
                message = messages.receive(self.theirs)
            except BlockingIOError:
                return
            if message is None:
                return
            yield message

    def close(self) -> None:
        self.channel.close()
        self.theirs.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()
    assert not made.reactor.readers | made.reactor.writers
    assert made.reactor.getDelayedCalls() == []


def test_what_comes_is_reported_in_order_and_so_much_in_one_turn(ends: Ends) -> None:
    for number in range(MESSAGES_A_TURN + 1):
        messages.send(ends.theirs, {"number": number})
    ends.turn()
    assert [content["number"] for content in ends.received] == list(range(MESSAGES_A_TURN))
    ends.turn()
    assert len(ends.received) == MESSAGES_A_TURN + 1
    assert ends.ends == 0


def test_the_end_comes_behind_what_was_said_before(ends: Ends) -> None:
    messages.send(ends.theirs, {"last": 1})
    ends.theirs.close()
    ends.turn()
    assert (ends.received, ends.ends) == ([{"last": 1}], 1)
    ends.channel.send({"nobody": 1})
    ends.turn()
    assert ends.ends == 1


def test_after_it_is_closed_nothing_is_reported(ends: Ends) -> None:
    for number in range(2):
        messages.send(ends.theirs, {"number": number})

    def close(message: Message) -> None:
        ends.received.append(message.content)
        ends.channel.close()

    ends.on_message = close
    ends.turn()
    assert (ends.received, ends.ends) == ([{"number": 0}], 0)
    assert messages.receive(ends.theirs) is None


@given(st.lists(st.integers(0, MAX_MESSAGE // 2), max_size=30), st.integers(1, 40))
def test_all_comes_in_order_however_slow_the_receiver(sizes: list[int], reads: int) -> None:
    ends = Ends()
    expected = [{"number": number, "fill": "x" * size} for number, size in enumerate(sizes)]
    arrived: list[Any] = []
    for content in expected:
        ends.channel.send(content)
    while len(arrived) < len(expected):
        came = ends.arrived()
        for _ in range(reads):
            message = next(came, None)
            if message is not None:
                arrived.append(message.content)
        ends.turn()
    assert arrived == expected
    assert not ends.reactor.writers
    ends.close()


def test_descriptors_of_what_waits_are_its_own(ends: Ends) -> None:
    while not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    reader, writer = os.pipe()
    ends.channel.send({"with": 1}, [writer])
    os.close(writer)
    last = Message({})
    while not last.descriptors:
        last = next(ends.arrived(), last)
        ends.turn()
    os.write(last.descriptors[0], b"there")
    last.close()
    assert (os.read(reader, 9), os.read(reader, 9)) == (b"there", b"")
    os.close(reader)


def test_a_receiver_that_takes_nothing_is_given_up(ends: Ends, lines: list[str]) -> None:
    while not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    for _ in range(MAX_WAITING - 1):
        ends.channel.send({}, [0])
    assert ends.ends == 0
    ends.channel.send({}, [0])
    assert ends.ends == 1
    assert lines == [f"a process takes no messages, and is given up: {MAX_WAITING} wait for it"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_message_that_cannot_be_sent_ends_the_connection(
    ends: Ends, lines: list[str], monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """As others would follow that are not understood without it."""

    def fail(*_: Any) -> None:
        raise OSError(24, os.strerror(24))

    while waits and not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    monkeypatch.setattr(messages, "copies" if waits else "send_encoded", fail)
    ends.channel.send({}, [0])
    assert ends.ends == 1
    (line,) = lines
    assert line.startswith("a message to another process cannot ")
    assert ": too many open files: raise the limit" in line


def test_the_other_side_may_be_gone_while_something_waits(ends: Ends) -> None:
    while not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    ends.theirs.close()
    (writer,) = ends.reactor.writers
    writer.doWrite()
    assert not ends.reactor.writers
    ends.turn()
    assert ends.ends == 1


def test_what_is_no_message_ends_the_connection(ends: Ends, lines: list[str]) -> None:
    ends.theirs.send(b"nonsense")
    messages.send(ends.theirs, {"never": 1})
    ends.turn()
    assert (ends.received, ends.ends) == ([], 1)
    assert lines == ["a message was lost: what has come is no message: b'nonsense'"]


def test_a_message_that_cannot_be_dealt_with_is_one_alone(ends: Ends, lines: list[str]) -> None:
    def fail(message: Message) -> None:
        ends.received.append(message.content)
        raise ValueError("trouble")

    ends.on_message = fail
    for number in range(2):
        messages.send(ends.theirs, {"number": number}, [0])
    ends.turn()
    assert len(ends.received) == 2
    assert [line for line in lines if "could not be dealt with" in line]


class Refusing:
    """A system that refuses so many messages with an error, and then takes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int, times: int) -> None:
        self.times = times
        self._code = code
        self._send = messages.send_encoded
        monkeypatch.setattr(messages, "send_encoded", self.send)

    def send(self, *arguments: Any) -> None:
        if self.times > 0:
            self.times -= 1
            raise OSError(self._code, os.strerror(self._code))
        self._send(*arguments)


PASSING = [errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM]


@pytest.mark.parametrize("code", PASSING)
def test_what_the_system_has_no_means_for_is_sent_a_little_later(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refusing = Refusing(monkeypatch, code, 3)
    for number in range(3):
        ends.channel.send({"number": number}, [0])
    assert refusing.times == 2
    for _ in range(3):
        ends.reactor.advance(AGAIN_AFTER)
    arrived = [*ends.arrived()]
    assert [message.content["number"] for message in arrived] == [0, 1, 2]
    assert ends.ends == 0
    for message in arrived:
        message.close()


@pytest.mark.parametrize("code", PASSING)
def test_such_an_error_does_not_end_what_waits(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    while not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    ends.channel.send({"last": 1})
    list(ends.arrived())
    Refusing(monkeypatch, code, 1)
    ends.turn()
    # It would be called again at once.
    assert not ends.reactor.writers
    ends.reactor.advance(AGAIN_AFTER)
    assert [*ends.arrived()][-1].content == {"last": 1}


def test_a_system_that_never_has_the_means_ends_the_connection(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    Refusing(monkeypatch, errno.ETOOMANYREFS, MAX_ATTEMPTS + 1)
    ends.channel.send({"number": 1})
    ends.reactor.pump([AGAIN_AFTER] * MAX_ATTEMPTS)
    assert ends.ends == 1
    (line,) = lines
    assert line.startswith("a message to another process cannot be sent: too many descriptors are on the way")


def test_an_error_that_does_not_pass_ends_the_connection(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    Refusing(monkeypatch, errno.EBADF, 1)
    ends.channel.send({"number": 1})
    assert ends.ends == 1
    assert lines == ["a message to another process cannot be sent: bad file descriptor"]


def test_what_lasts_needs_no_descriptor_while_it_waits(ends: Ends) -> None:
    while not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    reader, writer = os.pipe()
    before = open_descriptors()
    with no_descriptor_free():
        ends.channel.send({"with": 1}, [Kept(writer)])
    assert open_descriptors() == before
    last = Message({})
    while not last.descriptors:
        last = next(ends.arrived(), last)
        ends.turn()
    os.close(writer)
    os.write(last.descriptors[0], b"there")
    last.close()
    assert (os.read(reader, 9), os.read(reader, 9)) == (b"there", b"")
    os.close(reader)


def test_what_cannot_wait_for_want_of_descriptors_ends_the_connection(ends: Ends, lines: list[str]) -> None:
    while not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    before = open_descriptors()
    with no_descriptor_free():
        ends.channel.send({"with": 1}, [Kept(0), 0])
    assert ends.ends == 1
    assert len(open_descriptors()) == len(before) - 1
    (line,) = lines
    assert line.startswith("a message to another process cannot wait: too many open files: raise the limit")


def test_a_message_whose_descriptors_are_lost_is_reported_before_the_end(ends: Ends) -> None:
    def answer(reason: str) -> None:
        ends.lost.append(reason)
        ends.channel.send({"failed": 1})

    ends.channel._on_lost = answer
    messages.send(ends.theirs, {"with": 1}, [0])
    with no_descriptor_free():
        ends.turn()
    assert (ends.ends, [message.content for message in ends.arrived()]) == (1, [{"failed": 1}])
    assert "descriptors that came with a message are lost" in ends.lost[0]


def test_one_that_is_too_long_is_the_sender_s_fault(ends: Ends) -> None:
    with pytest.raises(MessageError):
        ends.channel.send({"fill": "x" * MAX_MESSAGE})
    ends.channel.send({"next": 1})
    assert [message.content for message in ends.arrived()] == [{"next": 1}]


def test_one_that_is_too_long_does_not_wait_either(ends: Ends) -> None:
    while not ends.reactor.writers:
        ends.channel.send({"fill": "x" * 30_000})
    with pytest.raises(MessageError):
        ends.channel.send({"fill": "x" * MAX_MESSAGE})
    ends.channel.send({"next": 1})
    arrived: list[Mapping[str, Any]] = []
    while {"next": 1} not in arrived:
        arrived += [message.content for message in ends.arrived()]
        ends.turn()
    assert ends.ends == 0


def test_the_end_of_the_reactor_is_an_end(ends: Ends) -> None:
    for _ in range(2):
        ends.channel.connectionLost(Failure(ConnectionLost()))
    assert ends.ends == 1


def test_it_watches_a_socket_that_does_not_wait(ends: Ends) -> None:
    with socket.socket(fileno=os.dup(ends.channel.fileno())) as copy:
        assert copy.gettimeout() is None
        assert not os.get_blocking(copy.fileno())
    assert ends.channel.logPrefix() == "channel"
