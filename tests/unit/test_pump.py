"""One direction: it copies, splices while there is bulk, and reads no more than the sink takes."""

from __future__ import annotations

import errno
import select
from typing import Any
from unittest.mock import Mock, patch

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from support.memory_pipes import MemoryPipes
from support.memory_socket_transport import MemorySocketTransport
from support.memory_stage import MemoryStage
from support.network import MemoryDataPathName, Network, no_logged_failure
from support.transport_scripts import HalfCloseRecorder
from tcpbalance.net.pump import BULK_AFTER, CHATTY_AFTER, CHUNK, LEAN, READS_A_TURN
from tcpbalance.net.wheel import Wheel

KIB = 1024
MIB = 1024 * KIB


class Pair:
    """Two legs joined, with a program behind each.

    :ivar near: sends.
    :ivar far: receives.
    """

    def __init__(
        self, data_path: MemoryDataPathName = "splicing", pipes: MemoryPipes | None = None, **network: Any
    ) -> None:
        sizes = {"send_buffer": MIB, "receive_buffer": MIB, **network}
        self.network = Network(data_path=data_path, pipes=pipes, **sizes)
        self.pipes = self.network.pipes
        self.near, self.source = self._connect()
        self.far, self.sink = self._connect()
        self.wheel = Wheel(self.network.reactor, self.network.clock.seconds)
        pumps = self.source.relay_with(self.sink, self.wheel)
        assert pumps is not None
        self.direction, self.back = pumps
        self.run()

    def _connect(self) -> tuple[Any, MemorySocketTransport]:
        stage = MemoryStage(HalfCloseRecorder, network=self.network)
        return stage.peer, stage.transport

    def run(self) -> None:
        self.network.run()

    def pour(self, size: int) -> None:
        """Let so many bytes come, all at once, and go where they go."""
        self.near.send(bytes(size))
        self.run()

    def become_bulky(self) -> None:
        self.pour((BULK_AFTER + 2) * CHUNK)
        assert self.direction._bulk


@pytest.mark.parametrize("reads", [BULK_AFTER - 1, BULK_AFTER])
def test_splicing_begins_after_so_many_full_reads(reads: int) -> None:
    pair = Pair()
    pair.pour(reads * CHUNK)
    assert pair.direction._bulk is (reads == BULK_AFTER)


def test_a_read_that_is_not_full_begins_the_count_anew() -> None:
    pair = Pair()
    for _ in range(5):
        pair.pour((BULK_AFTER - 1) * CHUNK + 1)
    assert (pair.direction._bulk, pair.pipes.made) == (False, 0)


@pytest.mark.parametrize(
    ("size", "bursts", "bulk"),
    [
        (LEAN - 1, CHATTY_AFTER - 1, True),
        (LEAN - 1, CHATTY_AFTER, False),
        (LEAN, 3 * CHATTY_AFTER, True),
    ],
)
def test_copying_begins_again_after_so_many_lean_bursts(size: int, bursts: int, bulk: bool) -> None:
    pair = Pair()
    pair.become_bulky()
    pair.pour(LEAN)
    for _ in range(bursts):
        pair.pour(size)
    assert pair.direction._bulk is bulk


def test_no_pipe_is_held_between_two_bursts() -> None:
    pair = Pair()
    pair.become_bulky()
    assert pair.pipes.made == 1
    assert pair.direction._pipe is None


def test_the_bursts_of_all_share_what_pipes_there_are() -> None:
    pair = Pair()
    for _ in range(10):
        pair.become_bulky()
    assert pair.pipes.made == 1


@pytest.mark.parametrize("data_path", ["copying", "splicing"])
def test_every_byte_is_counted_and_arrives(data_path: MemoryDataPathName) -> None:
    pair = Pair(data_path)
    pair.pour(5 * MIB + 1)
    pair.pour(1)
    assert pair.direction.carried == 5 * MIB + 2 == len(pair.far.received)
    assert pair.back.carried == 0
    assert (pair.pipes.made > 0) is (data_path == "splicing")


@pytest.mark.parametrize("bulky", [False, True])
def test_the_time_of_the_last_byte_is_noted(bulky: bool) -> None:
    pair = Pair()
    if bulky:
        pair.become_bulky()
    pair.wheel.now = 100.0
    pair.pour(LEAN)
    assert (pair.direction.active, pair.back.active) == (100.0, 0.0)


def test_a_sink_that_takes_nothing_stops_copying() -> None:
    pair = Pair("copying", send_buffer=KIB, receive_buffer=KIB)
    pair.far.stop_reading()
    pair.pour(100 * KIB)
    assert pair.sink.full
    assert pair.sink.kept <= CHUNK
    assert pair.near.unsent > 90 * KIB
    pair.far.start_reading()
    pair.run()
    assert (len(pair.far.received), pair.sink.kept) == (100 * KIB, 0)


@pytest.mark.parametrize(
    ("taken", "kept"), [(BlockingIOError(), b"message"), (3, b"sage"), (7, None)], ids=["none", "part", "all"]
)
def test_what_the_sink_does_not_take_of_a_message_is_kept(taken: Any, kept: bytes | None) -> None:
    pair = Pair("copying")
    pair.direction._send = Mock(side_effect=[taken])
    pair.near.send(b"message")
    pair.near.step()
    pair.source._poller.doRead()
    assert pair.sink.output.unsent == kept
    assert pair.sink.full is (kept is not None)


def test_a_message_for_a_sink_that_is_broken_is_cut_short() -> None:
    pair = Pair("copying")
    pair.direction._send = Mock(side_effect=[ConnectionResetError(errno.ECONNRESET, "reset")])
    pair.pour(1)
    assert pair.sink.cut_short
    assert pair.sink.is_broken


def test_a_sink_that_takes_nothing_stops_splicing() -> None:
    pair = Pair(pipes=MemoryPipes(size=100 * KIB))
    pair.become_bulky()
    pair.far.stop_reading()
    before = len(pair.far.received)
    pair.pour(8 * MIB)
    assert pair.sink.full
    assert 0 < pair.direction.held <= 100 * KIB
    assert pair.sink.kept == pair.direction.held
    pair.far.start_reading()
    pair.run()
    assert (len(pair.far.received) - before, pair.sink.kept, pair.direction._pipe) == (8 * MIB, 0, None)


def test_one_turn_is_a_bounded_number_of_reads() -> None:
    pair = Pair("copying")
    pair.near.send(bytes(2 * MIB))
    pair.source.on_events(select.EPOLLIN)
    assert pair.direction.carried == READS_A_TURN * CHUNK


def test_where_no_pipe_is_to_be_had_bytes_are_copied() -> None:
    pair = Pair(pipes=MemoryPipes(most=0))
    pair.pour(4 * MIB)
    assert len(pair.far.received) == 4 * MIB


@pytest.mark.parametrize("refused", ["source", "sink"])
def test_where_a_socket_cannot_be_spliced_bytes_are_copied_from_then_on(refused: Any) -> None:
    pair = Pair(pipes=MemoryPipes(refused=refused))
    pair.pour(4 * MIB)
    assert len(pair.far.received) == 4 * MIB == pair.direction.carried
    assert [pair.source.input.splices, pair.sink.output.splices] == [refused != "source", refused != "sink"]
    assert not pair.direction._bulk
    assert (pair.pipes.made, pair.pipes.open) == (1, 1)


def test_a_pipe_with_bytes_in_it_is_closed_with_its_sink() -> None:
    pair = Pair()
    pair.become_bulky()
    pair.far.stop_reading()
    pair.pour(4 * MIB)
    assert pair.direction.held
    pair.sink.abortConnection()
    assert (pair.direction.held, pair.pipes.open) == (0, 0)


def test_an_exception_while_a_message_is_carried_resets_its_connection() -> None:
    pair = Pair()
    with (
        pytest.raises(AssertionError, match="<Pump from <SocketTransport to 198"),
        no_logged_failure(),
        patch.object(pair.source.input, "socket", Mock(recv=Mock(side_effect=ZeroDivisionError))),
    ):
        pair.pour(1)
    assert (pair.near.saw, pair.far.saw) == ("reset", "open")


def test_a_reactor_that_is_torn_down_resets_both() -> None:
    pair = Pair()
    pair.source._poller.connectionLost(Failure(ConnectionDone()))
    pair.run()
    assert (pair.near.saw, pair.far.saw) == ("reset", "reset")


def test_the_end_comes_after_the_last_byte_by_pipe() -> None:
    pair = Pair()
    pair.near.send(bytes(2 * MIB))
    pair.near.finish()
    pair.run()
    assert len(pair.far.received) == 2 * MIB
    assert pair.direction._pipe is None


def test_a_protocol_that_has_its_bytes_relayed_gets_no_more_of_them() -> None:
    """In the turn, too, in which it asks for that: nothing would stop it where the sink is full."""
    network = Network(data_path="copying", send_buffer=MIB, receive_buffer=MIB)
    sink = MemoryStage(HalfCloseRecorder, network=network)

    class Joining(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.relay_with(sink.transport, Wheel(network.reactor, network.clock.seconds))

    source = MemoryStage(Joining, network=network)
    source.peer.send(bytes(3 * CHUNK))
    network.run()
    assert source.protocol.story == [f"data {CHUNK}"]
    assert len(sink.peer.received) == 2 * CHUNK
