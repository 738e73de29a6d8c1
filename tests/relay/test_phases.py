"""What a session does in each phase when something happens: one play for each cell of its table."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from support.bare import whole
from support.network import no_logged_failure
from support.scene import ONE, RETRY_ON_RESET, TWO, Scene
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.proxy.phases import TABLE, Action, Event, Phase
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason


class Play:
    """A session in one phase, with its client and, where there is one, its backend."""

    def __init__(self, phase: str) -> None:
        self.scene = getattr(self, f"_{phase.lower()}")()
        self.client = self.scene.clients[0]
        self.session = next(iter(self.scene.frontend.registry.sessions), None)
        self.backend = next(iter(self.scene.backends[ONE].connections), None)
        if self.session is not None:
            assert self.session._phase.name == phase

    def _preread(self) -> Scene:
        proxies = NetworkSet([ip_network("0.0.0.0/0")])
        scene = Scene(preread=lambda _: PrereadSettings(proxies))
        scene.connect(early=b"PROXY")
        scene.run()
        return scene

    def _dialling(self) -> Scene:
        scene = Scene({ONE: "hangs"})
        scene.connect(early=b"question")
        scene.run()
        return scene

    def _unanswered(self) -> Scene:
        scene = Scene({ONE: "accepts", TWO: "accepts"}, **RETRY_ON_RESET)
        scene.connect(early=b"question")
        scene.run()
        return scene

    def _relaying(self) -> Scene:
        scene = Scene()
        scene.joined(early=b"question")
        return scene

    def _ending(self) -> Scene:
        """The backend has broken off, and the client has not got yet what came before."""
        scene = Scene(network={"send_buffer": 1000, "receive_buffer": 1000})
        client, backend = scene.joined(early=b"question")
        client.stop_reading()
        backend.send(bytes(5000))
        scene.run()
        session = whole(next(iter(scene.frontend.registry.sessions)))
        assert session.backend is not None
        session.connection_error(session.backend)
        return scene

    def _over(self) -> Scene:
        scene = Scene()
        client, backend = scene.joined()
        self.ended = next(iter(scene.frontend.registry.sessions))
        for peer in (client, backend):
            peer.finish()
            scene.run()
        return scene

    def lose(self, side: Any, error: Exception) -> None:
        """The transport of a side is gone."""
        ours = self.scene.network.transports  # the client's was the first
        ours[side is not self.session.client].connectionLost(Failure(error))

    def outcome(self) -> str:
        """What has come of it: the phase, the reason if the end is decided, and what the peers saw."""
        self.scene.run()
        session = self.session or self.ended
        reason = session._reason.word if session._reason is not None else "-"
        backend = self.backend.saw if self.backend is not None else "-"
        return f"{session._phase.name} {reason} {self.client.saw} {backend}"


HAPPENS: dict[str, Callable[[Play], object]] = {
    "CLIENT_FINISHED": lambda play: play.client.finish(),
    "BACKEND_FINISHED": lambda play: play.backend.finish(),
    "CLIENT_ERROR": lambda play: play.session.connection_error(play.session.client),
    "BACKEND_ERROR": lambda play: play.session.connection_error(play.session.backend),
    "CLIENT_CLOSED": lambda play: play.lose(play.session.client, ConnectionDone()),
    "BACKEND_CLOSED": lambda play: play.lose(play.session.backend, ConnectionDone()),
    "CLIENT_RESET": lambda play: play.lose(play.session.client, ConnectionLost()),
    "BACKEND_RESET": lambda play: play.lose(play.session.backend, ConnectionLost()),
    "FAILED": lambda play: play.lose(play.session.client, RuntimeError("a flaw of ours")),
    "ENDED": lambda play: (play.session or play.ended).end(EndReason.IDLE_TIMEOUT),
    "ENDED_AT_ONCE": lambda play: (play.session or play.ended).end(EndReason.SHUTDOWN),
}

# Phase and event; then the phase after it, the reason for the end, and what client and backend have seen.
EXPECTED = """
PREREAD    CLIENT_FINISHED   OVER client_closed fin -
PREREAD    CLIENT_ERROR      PREREAD - open -
PREREAD    CLIENT_CLOSED     OVER client_closed fin -
PREREAD    CLIENT_RESET      OVER client_reset fin -
PREREAD    FAILED            OVER internal_error reset -
PREREAD    ENDED             OVER idle_timeout reset -
PREREAD    ENDED_AT_ONCE     OVER shutdown reset -
DIALLING   CLIENT_FINISHED   DIALLING - open -
DIALLING   CLIENT_ERROR      OVER client_reset reset -
DIALLING   CLIENT_CLOSED     DIALLING - fin -
DIALLING   CLIENT_RESET      OVER client_reset fin -
DIALLING   FAILED            OVER internal_error reset -
DIALLING   ENDED             OVER idle_timeout reset -
DIALLING   ENDED_AT_ONCE     OVER shutdown reset -
UNANSWERED CLIENT_FINISHED   UNANSWERED - open fin
UNANSWERED BACKEND_FINISHED  RELAYING - fin open
UNANSWERED CLIENT_ERROR      ENDING client_reset open open
UNANSWERED BACKEND_ERROR     ENDING backend_reset open open
UNANSWERED CLIENT_CLOSED     OVER client_closed fin fin
UNANSWERED BACKEND_CLOSED    OVER backend_closed fin fin
UNANSWERED CLIENT_RESET      OVER client_reset fin reset
UNANSWERED BACKEND_RESET     UNANSWERED - open fin
UNANSWERED FAILED            OVER internal_error reset reset
UNANSWERED ENDED             OVER idle_timeout reset reset
UNANSWERED ENDED_AT_ONCE     OVER shutdown reset reset
RELAYING   CLIENT_FINISHED   RELAYING - open fin
RELAYING   BACKEND_FINISHED  RELAYING - fin open
RELAYING   CLIENT_ERROR      ENDING client_reset open open
RELAYING   BACKEND_ERROR     ENDING backend_reset open open
RELAYING   CLIENT_CLOSED     OVER client_closed fin fin
RELAYING   BACKEND_CLOSED    OVER backend_closed fin fin
RELAYING   CLIENT_RESET      OVER client_reset fin reset
RELAYING   BACKEND_RESET     OVER backend_reset reset fin
RELAYING   FAILED            OVER internal_error reset reset
RELAYING   ENDED             OVER idle_timeout reset reset
RELAYING   ENDED_AT_ONCE     OVER shutdown reset reset
ENDING     CLIENT_FINISHED   ENDING backend_reset open open
ENDING     BACKEND_FINISHED  ENDING backend_reset open open
ENDING     CLIENT_ERROR      ENDING backend_reset open open
ENDING     BACKEND_ERROR     ENDING backend_reset open open
ENDING     ENDED             ENDING backend_reset open open
ENDING     ENDED_AT_ONCE     OVER backend_reset reset reset
OVER       ENDED             OVER client_closed fin fin
OVER       ENDED_AT_ONCE     OVER client_closed fin fin
"""

CELLS = {tuple(line.split()[:2]): " ".join(line.split()[2:]) for line in EXPECTED.strip().splitlines()}


def test_each_cell_has_its_play() -> None:
    assert set(CELLS) == {(phase.name, event.name) for phase, event in TABLE}


def check_cell(play: Play, phase: str, event: str) -> None:
    with no_logged_failure():
        HAPPENS[event](play)
        assert play.outcome() == CELLS[phase, event]


@pytest.mark.parametrize(("phase", "event"), [(phase.name, event.name) for phase, event in TABLE])
def test_each_cell(phase: str, event: str) -> None:
    play = Play(phase)
    check_cell(play, phase, event)
    play.client.start_reading()
    play.scene.leave()
    assert play.scene.leftovers() == []


DECIDING = [
    (phase, event)
    for (phase, event), action in TABLE.items()
    if action is not Action.IGNORE and phase is not Phase.ENDING
]
"""Cells in which something follows."""


@pytest.mark.parametrize(("phase", "event"), DECIDING, ids=lambda member: member.name)
def test_the_table_decides(phase: Phase, event: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing in a cell that follows, the session does something else, or refuses to go on."""
    play = Play(phase.name)
    monkeypatch.setitem(TABLE, (phase, event), Action.IGNORE)
    with pytest.raises(AssertionError):
        check_cell(play, phase.name, event.name)


@pytest.mark.parametrize(("finished", "saw"), [(True, "fin"), (False, "open")])
def test_an_end_that_came_before_the_break_is_passed_on(finished: bool, saw: str) -> None:
    play = Play("ENDING")
    if finished:
        play.backend.finish()
    play.client.start_reading()
    play.scene.run()
    assert (len(play.client.received), play.client.saw) == (5000, saw)
    play.lose(play.session.backend, ConnectionLost())
    play.scene.leave()
    assert play.scene.ended == "backend_reset"
