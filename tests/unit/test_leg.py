"""A leg: what the protocol on it is told, when, and what becomes of what it writes."""

from __future__ import annotations

from typing import Any

from support.memory_stage import MemoryStage
from support.network import Network
from support.transport_scripts import HalfCloseRecorder, Recorder, Source, outcome


def stage(protocol: type[Recorder] = HalfCloseRecorder, **network: Any) -> MemoryStage:
    return MemoryStage(protocol, network=Network(road="copying", **network))


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
