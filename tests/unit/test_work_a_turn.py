"""However much comes at once, one turn of the poller carries a bounded part of it: the worst case that a
search finds, in bytes and in calls of the system, for each transport and direction."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from support.memory_socket import MemorySocket
from support.memory_stage import MemoryStage
from support.network import MemoryDataPathName, Network
from support.transport_scripts import HalfCloseRecorder
from tcpbalance.net.poller import ROUNDS_A_TURN
from tcpbalance.net.pump import BYTES_A_TURN, CHUNK, READS_A_TURN
from tcpbalance.net.wheel import Wheel

ROOM = 16 * 1024 * 1024
"""Bytes that the kernel of either side holds: twice what one turn may carry."""

PULLS_A_TURN = 2
"""Times that one transport is read: because it had work left, and because its peer has broken off
meanwhile."""

MAX_BYTES: dict[MemoryDataPathName, int] = {
    "copying": PULLS_A_TURN * READS_A_TURN * CHUNK,
    # In each round, the sink may take what its pipe holds, and more has come meanwhile.
    "splicing": ROUNDS_A_TURN * BYTES_A_TURN,
}
"""What one transport may be read of in a turn."""

CALLS_A_TURN = 2 * PULLS_A_TURN * READS_A_TURN
"""Reads of one socket and writes to it: what comes in at it, and what the other transport brings."""

assert 2 * max(MAX_BYTES.values()) <= ROOM


class Calls:
    """Counts reads and writes, and the bytes read, by socket."""

    def __init__(self) -> None:
        self.calls: Counter[MemorySocket] = Counter()
        self.bytes: Counter[MemorySocket] = Counter()

    @contextmanager
    def counted(self) -> Iterator[None]:
        recv, send = MemorySocket.recv, MemorySocket.send

        def counted_recv(sock: MemorySocket, limit: int, flags: int = 0) -> bytes:
            self.calls[sock] += 1
            data = recv(sock, limit, flags)
            if not flags & socket.MSG_PEEK:
                self.bytes[sock] += len(data)
            return data

        def counted_send(sock: MemorySocket, *arguments: Any) -> int:
            self.calls[sock] += 1
            return send(sock, *arguments)

        with (
            patch.object(MemorySocket, "recv", counted_recv),
            patch.object(MemorySocket, "send", counted_send),
        ):
            yield


class Crowd:
    """Connections on one poller: joined in pairs, or each with a protocol of its own."""

    def __init__(self, data_path: MemoryDataPathName, count: int, joined: bool) -> None:
        self.network = Network(data_path=data_path, send_buffer=ROOM, receive_buffer=ROOM)
        self.stages = [MemoryStage(HalfCloseRecorder, network=self.network) for _ in range(2 * count)]
        if joined:
            wheel = Wheel(self.network.reactor, self.network.clock.seconds)
            for one, other in zip(self.stages[::2], self.stages[1::2], strict=True):
                one.transport.relay_with(other.transport, wheel)
        self.poller = self.stages[0].transport._poller
        self.network.run()

    def turn(self) -> Calls:
        """Let the poller have one turn, and count what it does."""
        calls = Calls()
        with calls.counted():
            self.poller.doRead()
        return calls


ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([1, CHUNK - 1, CHUNK, 4 * CHUNK, ROOM // 8, ROOM])),
    st.tuples(st.sampled_from(["finish", "reset", "read"]), st.just(0)),
)
STEPS = st.lists(st.lists(st.tuples(st.integers(0, 5), ACTIONS), max_size=6), min_size=1, max_size=4)


def act(peer: Any, action: str, size: int) -> None:
    """Let a peer do something, as far as it still can."""
    if peer.socket.closed:
        return
    if action == "send" and not peer.finished:
        peer.send(bytes(size))
    elif action == "read":
        peer.read(ROOM)
    elif action == "finish":
        peer.finish()
    elif action == "reset":
        peer.reset()


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("data_path", ["copying", "splicing"])
@settings(max_examples=40)
@given(steps=STEPS, count=st.integers(1, 3))
def test_a_turn_does_a_bounded_part_of_the_work_at_each_socket(
    data_path: MemoryDataPathName, joined: bool, steps: list[list[tuple[int, tuple[str, int]]]], count: int
) -> None:
    crowd = Crowd(data_path, count, joined)
    max_bytes = max_calls = 0
    for step in steps:
        for number, (action, size) in step:
            act(crowd.stages[number % len(crowd.stages)].peer, action, size)
        calls = crowd.turn()
        max_bytes = max(max_bytes, *calls.bytes.values(), 0)
        max_calls = max(max_calls, *calls.calls.values(), 0)
    target(float(max_bytes), label="bytes")
    target(float(max_calls), label="calls")
    assert max_bytes <= MAX_BYTES[data_path]
    assert max_calls <= CALLS_A_TURN


@pytest.mark.parametrize("data_path", ["copying", "splicing"])
def test_what_is_left_is_carried_in_the_turns_that_follow(data_path: MemoryDataPathName) -> None:
    crowd = Crowd(data_path, 1, joined=True)
    crowd.stages[0].peer.send(bytes(ROOM))
    carried = crowd.turn().bytes.total()
    assert 0 < carried <= MAX_BYTES[data_path]
    crowd.network.run()
    assert len(crowd.stages[1].peer.received) == ROOM
