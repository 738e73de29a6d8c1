"""A leg: what the protocol on it is told, when, and what becomes of what it writes."""

from __future__ import annotations

from typing import Any

import pytest

from support.memory_stage import MemoryStage
from support.network import Network, no_logged_failure
from support.transport_scripts import HalfCloseRecorder, Recorder, Source, outcome
from tcpbalance.net.socket_transport import BUFFER, SocketTransport


def stage(protocol: type[Recorder] = HalfCloseRecorder, **network: Any) -> MemoryStage:
    return MemoryStage(protocol, network=Network(data_path="copying", **network))


# Breaks


def test_a_break_met_in_a_write_is_told_in_a_later_round() -> None:
    """And as a break, even though the kernel, which tells an error once, shows an end from then on."""
    leg = stage()
    leg.settle()
    leg.peer.reset()
    leg.transport.write(b"anybody there?")
    leg.protocol.story.append("called")
    leg.settle()
    assert leg.protocol.story == ["called", "lost ConnectionLost"]


def test_a_break_met_in_a_half_close_is_told_in_a_later_round() -> None:
    leg = stage()
    leg.settle()
    leg.peer.reset()
    leg.transport.loseWriteConnection()
    leg.protocol.story.append("called")
    leg.settle()
    assert leg.protocol.story == ["called", "lost ConnectionLost"]


def test_what_came_before_a_break_is_told_before_it() -> None:
    leg = stage()
    leg.peer.send(b"hello")
    leg.peer.reset()
    leg.settle()
    assert leg.protocol.story == ["data 5", "lost ConnectionLost"]


def test_what_came_before_a_break_that_a_write_meets_is_told_before_it() -> None:
    leg = stage()
    leg.settle()
    leg.peer.send(b"hello")
    leg.peer.reset()
    leg.transport.write(b"anybody there?")
    leg.settle()
    assert leg.protocol.story == ["data 5", "lost ConnectionLost"]


def test_a_leg_known_to_be_broken_takes_no_more_from_its_producer() -> None:
    leg = stage()
    leg.settle()
    leg.transport.registerProducer(Source(leg), True)
    leg.peer.reset()
    leg.transport.write(b"anybody there?")
    assert leg.protocol.story == ["pause"]
    leg.settle()
    assert outcome(leg) == ["pause", "lost ConnectionLost", "peer closed, 0"]


def test_a_break_met_by_bytes_that_waited_is_told() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.peer.stop_reading()
    leg.transport.write(bytes(5000))
    leg.settle()
    leg.peer.reset()
    leg.settle()
    assert leg.protocol.story == ["lost ConnectionLost"]


def test_a_break_is_told_though_nobody_reads() -> None:
    leg = stage()
    leg.transport.pauseProducing()
    leg.settle()
    leg.peer.reset()
    leg.settle()
    assert leg.protocol.story == ["lost ConnectionLost"]


def test_a_broken_leg_whose_last_bytes_wait_can_be_closed() -> None:
    leg = stage()
    leg.transport.pauseProducing()
    leg.peer.send(b"last")
    leg.peer.reset()
    leg.settle()
    assert leg.protocol.story == []
    leg.transport.loseConnection()
    leg.settle()
    assert leg.protocol.story == ["lost ConnectionDone"]


def test_a_broken_leg_takes_no_more_though_the_kernel_says_that_there_is_room() -> None:
    leg = stage()
    leg.transport.pauseProducing()
    leg.peer.send(b"last")
    leg.peer.reset()
    leg.transport.write(b"anybody there?")
    leg.settle()
    assert (leg.protocol.story, leg.transport.full) == ([], True)


# Reading


def test_a_paused_leg_reads_nothing_and_then_all() -> None:
    leg = stage()
    leg.transport.pauseProducing()
    leg.peer.send(b"hello")
    leg.peer.finish()
    leg.settle()
    assert leg.protocol.story == []
    leg.transport.resumeProducing()
    assert leg.protocol.story == [], "nothing is told within the call"
    leg.settle()
    assert leg.protocol.story == ["data 5", "read closed"]


def test_the_end_is_told_once() -> None:
    leg = stage()
    leg.peer.finish()
    leg.settle()
    leg.transport.pauseProducing()
    leg.transport.resumeProducing()
    leg.settle()
    assert leg.protocol.story == ["read closed"]


def test_a_protocol_that_pauses_at_its_first_bytes_gets_no_more() -> None:
    class OnePiece(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.pauseProducing()

    leg = stage(OnePiece, send_buffer=200_000, receive_buffer=200_000)
    leg.peer.send(bytes(300_000))
    leg.settle()
    assert leg.protocol.story == ["data 65536"]


def test_a_protocol_that_closes_at_its_first_bytes_gets_no_more() -> None:
    class OnePiece(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.loseConnection()

    leg = stage(OnePiece, send_buffer=200_000, receive_buffer=200_000)
    leg.peer.send(bytes(300_000))
    leg.settle()
    assert leg.protocol.story == ["data 65536", "lost ConnectionDone"]


# Writing


def test_what_the_kernel_takes_is_sent_within_the_call() -> None:
    leg = stage()
    leg.transport.writeSequence([b"one", b"two"])
    leg.transport.write(b"")
    assert (leg.peer.read(100), leg.transport.kept) == (6, 0)


def test_what_the_kernel_does_not_take_is_sent_in_order_when_it_does() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.peer.stop_reading()
    data = bytes(range(250)) * 40
    for start in range(0, len(data), 1000):
        leg.transport.write(data[start : start + 1000])
    leg.settle()
    assert leg.transport.kept == 8000
    leg.peer.start_reading()
    leg.settle()
    assert (leg.peer.received, leg.transport.kept) == (data, 0)


def test_a_producer_is_paused_while_much_waits_and_resumed_when_all_is_out() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.settle()
    leg.transport.registerProducer(Source(leg), True)
    leg.peer.stop_reading()
    leg.transport.write(bytes(2000 + BUFFER))
    assert leg.protocol.story == []
    leg.transport.write(b"x")
    assert leg.protocol.story == ["pause"]
    leg.peer.read(1000)
    leg.settle()
    assert leg.protocol.story == ["pause"]
    leg.peer.start_reading()
    leg.settle()
    assert leg.protocol.story == ["pause", "resume"]


def test_a_producer_that_is_unregistered_is_left_alone() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.transport.registerProducer(Source(leg), True)
    leg.transport.unregisterProducer()
    leg.transport.write(bytes(2 * BUFFER))
    leg.settle()
    assert leg.protocol.story == []


# Ending


def test_half_close_waits_for_the_last_byte() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.peer.stop_reading()
    leg.transport.write(bytes(5000))
    leg.transport.loseWriteConnection()
    leg.transport.write(b"dropped")
    leg.settle()
    assert leg.protocol.story == []
    leg.peer.start_reading()
    leg.peer.send(b"still here")
    leg.settle()
    assert sorted(leg.protocol.story) == ["data 10", "write closed"]
    assert (leg.peer.received, leg.peer.saw) == (bytes(5000), "fin")


def test_half_close_with_nothing_waiting_is_told_within_the_call() -> None:
    leg = stage()
    leg.transport.loseWriteConnection()
    leg.transport.loseWriteConnection()
    assert leg.protocol.story == ["write closed"]


def test_closing_waits_for_the_last_byte_and_reads_no_more() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.settle()
    leg.peer.stop_reading()
    leg.transport.write(bytes(5000))
    leg.transport.loseConnection()
    leg.transport.loseConnection()
    leg.transport.write(b"dropped")
    leg.settle()
    assert leg.protocol.story == []
    leg.peer.start_reading()
    leg.settle()
    assert outcome(leg) == ["lost ConnectionDone", "peer fin, 5000"]


def test_closing_with_nothing_waiting_is_told_within_the_call() -> None:
    leg = stage()
    leg.transport.loseConnection()
    assert leg.protocol.story == ["lost ConnectionDone"]
    leg.settle()
    assert outcome(leg) == ["lost ConnectionDone", "peer fin, 0"]


def test_closing_while_the_last_bytes_wait_and_the_peer_breaks_off() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.peer.stop_reading()
    leg.transport.write(bytes(5000))
    leg.transport.loseConnection()
    leg.peer.reset()
    leg.settle()
    assert leg.protocol.story == ["lost ConnectionLost"]


def test_aborting_drops_what_waits_and_resets_within_the_call() -> None:
    leg = stage(send_buffer=1000, receive_buffer=1000)
    leg.peer.stop_reading()
    leg.transport.write(bytes(5000))
    leg.transport.abortConnection()
    assert leg.protocol.story == ["lost ConnectionAborted"]
    leg.transport.abortConnection()
    leg.peer.start_reading()
    leg.settle()
    assert leg.protocol.story == ["lost ConnectionAborted"]
    assert leg.peer.saw == "reset"


def test_a_closed_leg_takes_every_call() -> None:
    leg = stage()
    transport = leg.transport
    transport.abortConnection()
    transport.write(b"x")
    transport.loseWriteConnection()
    transport.loseConnection()
    transport.pauseProducing()
    transport.resumeProducing()
    transport.stopProducing()
    transport.on_connection_error()
    leg.settle()
    assert leg.protocol.story == ["lost ConnectionAborted"]
    assert SocketTransport.in_flight(transport) == 0
    assert leg.network.leftovers() == []


def test_a_protocol_that_raises_is_told_of_it_and_the_peer_sees_a_reset() -> None:
    class Broken(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            raise LookupError("broken")

    leg = stage(Broken)
    leg.peer.send(b"x")
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        leg.settle()
    leg.settle()
    assert outcome(leg) == ["lost LookupError", "peer reset, 0"]
