"""A transport: what the protocol on it is told, when, and what becomes of what it writes."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from support.memory_stage import MemoryStage
from support.network import Network, no_logged_failure
from support.transport_scripts import HalfCloseRecorder, Recorder, Source, outcome
from tcpbalance.net.pump import CHUNK, READS_A_TURN
from tcpbalance.net.socket_transport import BUFFER, SocketTransport

MIB = 1024 * 1024


def stage(protocol: type[Recorder] = HalfCloseRecorder, **network: Any) -> MemoryStage:
    return MemoryStage(protocol, network=Network(data_path="copying", **network))


# Breaks


def test_a_break_met_in_a_write_is_told_in_a_later_round() -> None:
    """And as a break, even though the kernel, which tells an error once, shows an end from then on."""
    line = stage()
    line.settle()
    line.peer.reset()
    line.transport.write(b"anybody there?")
    line.protocol.story.append("called")
    line.settle()
    assert line.protocol.story == ["called", "lost ConnectionLost"]


def test_a_break_met_in_a_half_close_is_told_in_a_later_round() -> None:
    line = stage()
    line.settle()
    line.peer.reset()
    line.transport.loseWriteConnection()
    line.protocol.story.append("called")
    line.settle()
    assert line.protocol.story == ["called", "lost ConnectionLost"]


def test_bytes_that_a_write_could_not_send_cut_it_short() -> None:
    line = stage()
    line.settle()
    line.peer.reset()
    line.transport.write(b"anybody there?")
    line.settle()
    assert line.transport.cut_short


def test_what_came_before_a_break_is_told_before_it() -> None:
    line = stage()
    line.peer.send(b"hello")
    line.peer.reset()
    line.settle()
    assert line.protocol.story == ["data 5", "lost ConnectionLost"]


def test_what_came_before_a_break_that_a_write_meets_is_told_before_it() -> None:
    line = stage()
    line.settle()
    line.peer.send(b"hello")
    line.peer.reset()
    line.transport.write(b"anybody there?")
    line.settle()
    assert line.protocol.story == ["data 5", "lost ConnectionLost"]


def test_a_transport_known_to_be_broken_takes_no_more_from_its_producer() -> None:
    line = stage()
    line.settle()
    line.transport.registerProducer(Source(line), True)
    line.peer.reset()
    line.transport.write(b"anybody there?")
    assert line.protocol.story == ["pause"]
    line.settle()
    assert outcome(line) == ["pause", "lost ConnectionLost", "peer closed, 0"]


def test_a_break_met_by_bytes_that_waited_is_told() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.peer.stop_reading()
    line.transport.write(bytes(5000))
    line.settle()
    line.peer.reset()
    line.settle()
    assert line.protocol.story == ["lost ConnectionLost"]
    assert (line.transport.cut_short, line.transport.kept) == (True, 0)


def test_a_break_is_told_though_nobody_reads() -> None:
    line = stage()
    line.transport.pauseProducing()
    line.settle()
    line.peer.reset()
    line.settle()
    assert line.protocol.story == ["lost ConnectionLost"]


def test_a_broken_transport_whose_last_bytes_wait_can_be_closed() -> None:
    line = stage()
    line.transport.pauseProducing()
    line.peer.send(b"last")
    line.peer.reset()
    line.settle()
    assert line.protocol.story == []
    line.transport.loseConnection()
    line.settle()
    assert line.protocol.story == ["lost ConnectionDone"]


def test_a_broken_transport_takes_no_more_though_the_kernel_says_that_there_is_room() -> None:
    line = stage()
    line.transport.pauseProducing()
    line.peer.send(b"last")
    line.peer.reset()
    line.transport.write(b"anybody there?")
    line.settle()
    assert (line.protocol.story, line.transport.full) == ([], True)


# Reading


def test_a_paused_transport_reads_nothing_and_then_all() -> None:
    line = stage()
    line.transport.pauseProducing()
    line.peer.send(b"hello")
    line.peer.finish()
    line.settle()
    assert line.protocol.story == []
    line.transport.resumeProducing()
    assert line.protocol.story == [], "nothing is told within the call"
    line.settle()
    assert line.protocol.story == ["data 5", "read closed"]


def test_one_turn_is_a_bounded_number_of_reads() -> None:
    """However often it is paused and resumed in the turn before."""
    line = stage(send_buffer=MIB, receive_buffer=MIB)
    line.transport.pauseProducing()
    line.peer.send(bytes(MIB))
    line.settle()
    for _ in range(2):
        line.transport.resumeProducing()
        line.transport.pauseProducing()
    line.transport.resumeProducing()
    line.turn()
    assert line.protocol.story == [f"data {READS_A_TURN * CHUNK}"]


def test_a_message_is_read_once() -> None:
    """Less than was asked for is all that there is, unless the end is behind it."""
    line = stage()
    reads = []
    recv = line.transport.socket.recv

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return recv(*arguments)

    line.transport.socket.recv = counted
    line.peer.send(b"hello")
    line.settle()
    assert (line.protocol.story, len(reads)) == (["data 5"], 1)


def test_the_end_is_told_once() -> None:
    line = stage()
    line.peer.finish()
    line.settle()
    line.transport.pauseProducing()
    line.transport.resumeProducing()
    line.settle()
    assert line.protocol.story == ["read closed"]


def test_a_protocol_that_pauses_at_its_first_bytes_gets_no_more() -> None:
    class OnePiece(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.pauseProducing()

    line = stage(OnePiece, send_buffer=200_000, receive_buffer=200_000)
    line.peer.send(bytes(300_000))
    line.settle()
    assert line.protocol.story == ["data 65536"]


def test_a_protocol_that_closes_at_its_first_bytes_gets_no_more() -> None:
    class OnePiece(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.loseConnection()

    line = stage(OnePiece, send_buffer=200_000, receive_buffer=200_000)
    line.peer.send(bytes(300_000))
    line.settle()
    assert line.protocol.story == ["data 65536", "lost ConnectionDone"]


# Writing


def test_what_the_kernel_takes_is_sent_within_the_call() -> None:
    line = stage()
    line.transport.writeSequence([b"one", b"two"])
    line.transport.write(b"")
    assert (line.peer.read(100), line.transport.kept) == (6, 0)


def test_what_the_kernel_does_not_take_is_sent_in_order_when_it_does() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.peer.stop_reading()
    data = bytes(range(250)) * 40
    for start in range(0, len(data), 1000):
        line.transport.write(data[start : start + 1000])
    line.settle()
    assert line.transport.kept == 8000
    line.peer.start_reading()
    line.settle()
    assert (line.peer.received, line.transport.kept) == (data, 0)
    line.transport.write(b"more")
    assert line.peer.read(100) == 4, "what follows is sent at once again"


def test_a_producer_is_paused_while_much_waits_and_resumed_when_all_is_out() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.settle()
    line.transport.registerProducer(Source(line), True)
    line.peer.stop_reading()
    line.transport.write(bytes(2000 + BUFFER))
    assert line.protocol.story == []
    line.transport.write(b"x")
    assert line.protocol.story == ["pause"]
    line.peer.read(1000)
    line.settle()
    assert line.protocol.story == ["pause"]
    line.peer.start_reading()
    line.settle()
    assert line.protocol.story == ["pause", "resume"]


def test_a_producer_that_is_unregistered_is_left_alone() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.transport.registerProducer(Source(line), True)
    line.transport.unregisterProducer()
    line.transport.write(bytes(2 * BUFFER))
    line.settle()
    assert line.protocol.story == []


# Ending


def test_half_close_waits_for_the_last_byte() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.peer.stop_reading()
    line.transport.write(bytes(5000))
    line.transport.loseWriteConnection()
    line.transport.write(b"dropped")
    line.settle()
    assert line.protocol.story == []
    line.peer.start_reading()
    line.peer.send(b"still here")
    line.settle()
    assert sorted(line.protocol.story) == ["data 10", "write closed"]
    assert (line.peer.received, line.peer.saw) == (bytes(5000), "fin")


def test_half_close_with_nothing_waiting_is_told_within_the_call() -> None:
    line = stage()
    line.transport.loseWriteConnection()
    line.transport.loseWriteConnection()
    assert line.protocol.story == ["write closed"]


def test_closing_waits_for_the_last_byte_and_reads_no_more() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.settle()
    line.peer.stop_reading()
    line.transport.write(bytes(5000))
    line.transport.loseConnection()
    line.transport.loseConnection()
    line.transport.write(b"dropped")
    line.settle()
    assert line.protocol.story == []
    line.peer.start_reading()
    line.settle()
    assert outcome(line) == ["lost ConnectionDone", "peer fin, 5000"]


def test_closing_with_nothing_waiting_is_told_within_the_call() -> None:
    line = stage()
    line.transport.loseConnection()
    assert line.protocol.story == ["lost ConnectionDone"]
    line.settle()
    assert outcome(line) == ["lost ConnectionDone", "peer fin, 0"]


def test_closing_while_the_last_bytes_wait_and_the_peer_breaks_off() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.peer.stop_reading()
    line.transport.write(bytes(5000))
    line.transport.loseConnection()
    line.peer.reset()
    line.settle()
    assert line.protocol.story == ["lost ConnectionLost"]


def test_aborting_drops_what_waits_and_resets_within_the_call() -> None:
    line = stage(send_buffer=1000, receive_buffer=1000)
    line.peer.stop_reading()
    line.transport.write(bytes(5000))
    line.transport.abortConnection()
    assert line.protocol.story == ["lost ConnectionAborted"]
    line.transport.abortConnection()
    line.peer.start_reading()
    line.settle()
    assert line.protocol.story == ["lost ConnectionAborted"]
    assert line.peer.saw == "reset"


def test_a_closed_transport_takes_every_call() -> None:
    line = stage()
    transport = line.transport
    transport.abortConnection()
    transport.write(b"x")
    transport.loseWriteConnection()
    transport.loseConnection()
    transport.pauseProducing()
    transport.resumeProducing()
    transport.stopProducing()
    transport.on_connection_error()
    line.settle()
    assert line.protocol.story == ["lost ConnectionAborted"]
    assert SocketTransport.in_flight(transport) == 0
    assert line.network.leftovers() == []


def test_a_protocol_that_raises_is_told_of_it_and_the_peer_sees_a_reset() -> None:
    class Broken(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            raise LookupError("broken")

    line = stage(Broken)
    line.peer.send(b"x")
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        line.settle()
    line.settle()
    assert outcome(line) == ["lost LookupError", "peer reset, 0"]


# A socket at which something has happened before


def test_an_end_that_was_read_before_is_not_reported_again() -> None:
    line = stage()
    line.transport.resume(True, False)
    line.peer.finish()
    line.settle()
    line.transport.write(b"answer")
    line.settle()
    assert (line.protocol.story, line.peer.received) == ([], b"answer")


def test_nothing_is_sent_behind_an_end_that_was_sent_before() -> None:
    line = stage()
    line.transport.resume(False, True)
    line.transport.write(b"answer")
    line.transport.loseWriteConnection()
    line.peer.send(b"question")
    line.settle()
    assert (line.protocol.story, line.peer.received, line.peer.saw) == (["data 8"], b"", "open")


def test_where_nothing_has_happened_all_goes_on() -> None:
    line = stage()
    line.transport.resume(False, False)
    line.transport.write(b"answer")
    line.peer.send(b"question")
    line.settle()
    assert (line.protocol.story, line.peer.received) == (["data 8"], b"answer")


def test_a_write_that_has_failed_before_is_reported_and_cut_short() -> None:
    line = stage()
    line.settle()
    line.peer.reset()
    line.transport.write_failed(OSError(errno.EPIPE, os.strerror(errno.EPIPE)))
    line.protocol.story.append("called")
    line.settle()
    assert (line.protocol.story, line.transport.cut_short) == (["called", "lost ConnectionLost"], True)
