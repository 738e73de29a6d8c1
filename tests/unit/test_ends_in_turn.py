"""What else happens at a transport of Twisted's while an end of its peer waits for its turn to be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.python.failure import Failure

from support.memory_stage import MemoryStage
from support.network import Network, no_logged_failure
from support.transport_scripts import HalfCloseRecorder
from tcpbalance.net.end_queue import ENDS_A_TURN
from tcpbalance.net.ends import LOST


class Waiting(MemoryStage):
    """A transport whose turn has had enough ends already."""

    def __init__(self, happens: Callable[[Any], None]) -> None:
        super().__init__(HalfCloseRecorder)
        self.network.run()
        ends = self.transport._ends
        ends.charge()
        self.network.reactor._run_due_calls()
        while ends._left:
            ends.charge()
        happens(self.peer)
        # The reactor's events alone, as in the turn that has had enough.
        self.events()
        assert self.story == []

    def events(self) -> None:
        for number, events in self.network.reactor._ready():
            selectable = self.network.reactor._selectables.get(number)
            self.network.reactor._doReadOrWrite(selectable, number, events)

    @property
    def story(self) -> list[str]:
        return self.protocol.story

    def told(self) -> list[str]:
        with no_logged_failure():
            self.network.run()
        assert self.network.clock.getDelayedCalls() == []
        return self.story


def finish(peer: Any) -> None:
    peer.finish()


def reset(peer: Any) -> None:
    peer.reset()


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        pytest.param(finish, ["read closed"], id="finish"),
        pytest.param(reset, ["lost ConnectionLost"], id="reset"),
    ],
)
def test_it_is_told_once_though_the_protocol_reads_and_writes_on(
    happens: Callable[[Any], None], told: list[str]
) -> None:
    stage = Waiting(happens)
    stage.transport.pauseProducing()
    stage.transport.resumeProducing()
    stage.transport.write(b"more")
    stage.events()
    stage.events()
    assert stage.told() == told


def test_the_end_of_the_stream_is_told_before_a_reset_that_follows() -> None:
    stage = Waiting(finish)
    stage.peer.reset()
    stage.transport.write(b"this meets it")
    stage.events()
    assert stage.told() == ["read closed", "lost ConnectionLost"]


def test_one_that_was_closed_meanwhile_has_no_end_of_the_stream() -> None:
    stage = Waiting(finish)
    stage.transport.loseConnection()
    assert stage.told() == ["lost ConnectionDone"]


@pytest.mark.parametrize("happens", [finish, reset])
def test_one_that_was_reset_from_here_meanwhile_is_lost_once(happens: Callable[[Any], None]) -> None:
    stage = Waiting(happens)
    stage.transport.abortConnection()
    (lost,) = stage.told()
    assert lost.startswith("lost")


def test_one_whose_peer_broke_off_is_lost_once_though_it_is_closed_meanwhile() -> None:
    stage = Waiting(reset)
    stage.transport.loseConnection()
    assert stage.told() == ["lost ConnectionLost"]


def test_one_of_tls_that_comes_to_an_end_by_a_fault_of_ours_meanwhile_is_lost_once() -> None:
    stage = Waiting(reset)
    stage.transport.TLS = True
    stage.transport.connectionLost(Failure(ZeroDivisionError()))
    assert stage.told() == ["lost ZeroDivisionError"]


def test_a_reset_from_here_does_not_wait() -> None:
    stage = Waiting(lambda peer: None)
    ends = stage.transport._ends
    for _ in range(2 * ENDS_A_TURN):
        ends.wait(lambda reason: None, LOST)
    stage.transport.abortConnection()
    assert stage.story == []
    stage.network.reactor._run_due_calls()
    assert stage.story == ["lost ConnectionAborted"]
    assert stage.told() == ["lost ConnectionAborted"]


def test_resets_from_here_leave_a_turn_fewer_ends_to_tell() -> None:
    network = Network()
    stages = [MemoryStage(HalfCloseRecorder, network=network) for _ in range(ENDS_A_TURN + 1)]
    network.run()
    for stage in stages[1:]:
        stage.transport.abortConnection()
    stages[0].transport.connectionLost(LOST)
    assert stages[0].protocol.story == []
    network.run()
    assert stages[0].protocol.story == ["lost ConnectionLost"]


def test_a_reactor_that_has_stopped_tells_at_once() -> None:
    """As ``disconnectAll`` does: there is no later turn."""
    stage = Waiting(lambda peer: None)
    stage.network.reactor.running = False
    for selectable in stage.network.reactor.removeAll():
        stage.network.reactor._disconnectSelectable(selectable, LOST.value, False)
    assert stage.story == ["lost ConnectionLost"]
