"""Messages between processes: whole, bounded, and with their descriptors or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.descriptors import no_descriptor_free, open_descriptors
from tcpbalance.workers import messages
from tcpbalance.workers.messages import MAX_MESSAGE, MAX_PASSED, Message, MessageError

Pair = tuple[socket.socket, socket.socket]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture
def ends() -> Iterator[Pair]:
    ours, theirs = messages.pair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=4))
def test_messages_come_whole_and_in_order(contents: list[dict[str, object]]) -> None:
    ours, theirs = messages.pair()
    with ours, theirs:
        for content in contents:
            messages.send(ours, content)
        ours.close()
        for content in contents:
            assert messages.receive(theirs) == Message(content)
        assert messages.receive(theirs) is None
        assert messages.receive(theirs) is None


def test_descriptors_come_with_their_message(ends: Pair) -> None:
    ours, theirs = ends
    reader, writer = os.pipe()
    messages.send(ours, {"before": 1})
    messages.send(ours, {"with": 2}, [writer])
    os.close(writer)
    assert messages.receive(theirs) == Message({"before": 1})
    received = messages.receive(theirs)
    assert received is not None
    assert received.content == {"with": 2}
    (copy,) = received.descriptors
    assert not os.get_inheritable(copy)
    os.write(copy, b"there")
    received.close()
    assert (os.read(reader, 9), os.read(reader, 9)) == (b"there", b"")
    os.close(reader)


def test_as_many_descriptors_come_as_the_kernel_allows(ends: Pair) -> None:
    ours, theirs = ends
    messages.send(ours, {}, [0] * MAX_PASSED)
    received = messages.receive(theirs)
    assert received is not None
    assert len(received.descriptors) == MAX_PASSED
    received.close()


def test_what_finds_no_descriptor_free_is_refused_and_nothing_is_left_open(ends: Pair) -> None:
    ours, theirs = ends
    messages.send(ours, {"with": 2}, [0, 1, 2])
    before = open_descriptors()
    with (
        no_descriptor_free(),
        pytest.raises(MessageError, match="are lost, because this process may have no more"),
    ):
        messages.receive(theirs)
    assert open_descriptors() == before
    messages.send(ours, {"next": 3})
    assert messages.receive(theirs) == Message({"next": 3})


def test_the_longest_goes_and_a_longer_one_does_not(ends: Pair) -> None:
    ours, theirs = ends
    longest = {"a": "x" * (MAX_MESSAGE - len('{"a":""}'))}
    messages.send(ours, longest)
    assert messages.receive(theirs) == Message(longest)
    with pytest.raises(MessageError, match=f"at most {MAX_MESSAGE} may be sent"):
        messages.send(ours, {"a": longest["a"] + "x"})
    with pytest.raises(BlockingIOError):
        messages.receive(theirs)


@pytest.mark.parametrize(
    ("packet", "what"),
    [
        (b"x" * (MAX_MESSAGE + 1), "longer than"),
        (b"{", "is no message: b'{'"),
        (b"[]", "is no message"),
        (b"\xff", "is no message"),
        (b"[" * 60_000, "is no message"),
    ],
    ids=["too long", "half of one", "a list", "no text", "too deep"],
)
def test_what_is_none_is_refused_with_its_descriptors(ends: Pair, packet: bytes, what: str) -> None:
    ours, theirs = ends
    before = open_descriptors()
    socket.send_fds(ours, [packet], [0])
    with pytest.raises(MessageError, match=what):
        messages.receive(theirs)
    assert open_descriptors() == before


def test_a_receiver_that_does_not_read_is_told_of_as_soon_as_its_buffer_is_full(ends: Pair) -> None:
    ours, _ = ends

    def send_many() -> None:
        for _ in range(1000):
            messages.send(ours, {"a": "x" * 10_000})

    with pytest.raises(BlockingIOError):
        send_many()


def test_a_receiver_that_is_gone_is_an_error_and_no_signal(ends: Pair) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(BrokenPipeError):
        messages.send(ours, {})


def test_what_was_said_before_a_close_comes_though_not_all_was_read(ends: Pair) -> None:
    ours, theirs = ends
    messages.send(ours, {"unread": 1})
    messages.send(theirs, {"last": 2})
    theirs.close()
    assert messages.receive(ours) == Message({"last": 2})
    assert messages.receive(ours) is None
