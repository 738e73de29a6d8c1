"""A session that begins bare comes to the same as one that has all made from the first byte.

Whatever is done to both, in whatever order, and whenever the bare one has the rest made: the same bytes
arrive, the same ends are seen, and the same is recorded and counted. Every deed is followed by all that
follows from it, so that nothing depends on how many turns something takes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from support.network import no_logged_failure
from support.scene import ONE, TWO, BareScene, Scene, WholeScene
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.backend import AdminState
from tcpbalance.proxy.bare_session import BareSession
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord

Deed = tuple[Any, ...]

SIDES = st.sampled_from(["client", "backend"])
DEEDS: st.SearchStrategy[Deed] = st.one_of(
    st.tuples(st.just("send"), SIDES, st.sampled_from([1, 1000, 65_536, 200_000])),
    st.tuples(st.sampled_from(["finish", "finish", "reset", "stop_reading", "start_reading"]), SIDES),
    st.tuples(st.just("pass_time"), st.sampled_from([0.3, 2.0, 3.5, 200.0])),
    st.tuples(st.just("connect"), st.binary(max_size=3)),
    st.tuples(st.sampled_from(["equip", "accept", "drain", "end_all"])),
)


BEHAVIOURS = st.sampled_from(["accepts", "accepts", "refuses", "hangs", "resets_at_once"])


@frozen
class Outcome:
    """What came of it, for each peer and for each session.

    :ivar times: of all sessions, in seconds.
    """

    received: list[tuple[bytes, str]]
    records: list[SessionRecord]
    counts: dict[str, int]
    times: list[float]


class Play:
    """Does the same to a scene as another one does to another scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._noise = random.Random(0)

    def act(self, deed: str, *details: Any) -> None:
        """Do something, and let all follow from it."""
        if deed in {"send", "finish", "reset", "stop_reading", "start_reading"}:
            self._peer(deed, *details)
        else:
            getattr(self, f"_{deed}")(*details)
        self._scene.run()

    def _peer(self, deed: str, side: str, *size: int) -> None:
        clients = self._scene.clients[-1:]
        peers = clients if side == "client" else self._connections()[-1:]
        for peer in peers:
            if peer.socket.closed or (deed == "send" and peer.finished):
                continue
            if deed == "send":
                peer.send(self._noise.randbytes(*size))
            else:
                getattr(peer, deed)()

    def _connections(self) -> list[Any]:
        every = [peer for backend in self._scene.backends.values() for peer in backend.connections]
        return sorted(every, key=lambda peer: peer.socket.number)

    def _pass_time(self, seconds: float) -> None:
        self._scene.advance(seconds)

    def _connect(self, early: bytes) -> None:
        sessions = len(self._scene.frontend.registry.sessions)
        self._scene.connect(early=early)
        if len(self._scene.frontend.registry.sessions) == sessions:
            self._scene.refused.append(self._scene.clients.pop())

    def _equip(self) -> None:
        for session in list(self._scene.frontend.registry.sessions):
            if isinstance(session, BareSession) and session.is_bare:
                session._equip()

    def _accept(self) -> None:
        for backend in self._scene.backends.values():
            backend.behaviour = "accepts"

    def _drain(self) -> None:
        self._scene.pool.set_admin_state(self._scene.pool.backends[0], AdminState.DRAIN)

    def _end_all(self) -> None:
        self._scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)

    def outcome(self) -> Outcome:
        """Let all come to its end, and tell what came of it."""
        scene = self._scene
        self._accept()
        peers = [*scene.clients, *self._connections()]
        for peer in peers:
            if not peer.socket.closed:
                peer.start_reading()
        scene.run()
        received = [(peer.received, peer.saw) for peer in peers]
        scene.leave()
        assert scene.leftovers() == []
        counts = {**scene.frontend.stats.snapshot(), **scene.pool.snapshot()}
        # Sessions that are ended together have no order.
        ended = sorted(scene.records, key=lambda record: record.client)
        times = [(record.wait, record.connect or 0.0, record.total) for record in ended]
        records = [evolve(record, wait=0.0, connect=None, total=0.0) for record in ended]
        return Outcome(received, records, counts, [time for three in times for time in three])


def limits(clock: Callable[[], float]) -> AdmissionControl:
    return AdmissionControl(Access(), LimitsConfig(connections_per_client=2), clock)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "header": {"send_proxy_protocol": "v1"},
    "affinity": {"affinity": AffinityConfig(ttl=5.0)},
    "ejection": {"outlier": OutlierConfig(consecutive_failures=1)},
    "queue": {"queue": 2, "queue_timeout": 5.0},
    "least connections": {"balance": "least_connections"},
    "slow start": {"slow_start": 5.0},
    "bounded load": {"bounded_load": 1.2},
}


@given(
    variant=st.sampled_from(list(VARIANTS)),
    size=st.sampled_from([4_000, 32_000, 200_000]),
    behaviours=st.tuples(
        *[st.sampled_from(["accepts", "accepts", "refuses", "hangs", "resets_at_once"])] * 2
    ),
    early=st.binary(max_size=3),
    deeds=st.lists(DEEDS, max_size=15),
)
def test_it_comes_to_the_same(
    variant: str, size: int, behaviours: tuple[Any, Any], early: bytes, deeds: list[Deed]
) -> None:
    outcomes = []
    with no_logged_failure():
        for kind in (BareScene, WholeScene):
            scene = kind(
                dict(zip((ONE, TWO), behaviours, strict=True)),
                network={"send_buffer": size, "receive_buffer": size},
                admission=limits,
                settings={"idle_timeout": 100.0, "half_close_timeout": 100.0},
                **VARIANTS[variant],
            )
            play = Play(scene)
            play.act("connect", early)
            for deed in deeds:
                play.act(*deed)
            outcomes.append(play.outcome())
    bare, whole = outcomes
    # Their wheels turn at other moments.
    assert bare.times == pytest.approx(whole.times, abs=RESOLUTION + 0.1)
    assert evolve(bare, times=[]) == evolve(whole, times=[])


def test_one_that_begins_after_a_long_silence_is_not_idle() -> None:
    """The wheel of the sessions has stood still since the last one that was on it."""
    scene = BareScene(settings={"idle_timeout": 10.0})
    scene.connect(early=b"question")
    scene.advance(5.0)
    scene.leave()
    scene.advance(1000.0)
    scene.connect(early=b"question")
    scene.run()
    scene.backends[ONE].connections[-1].send(b"answer")
    scene.advance(8.0)
    assert len(scene.frontend.registry.sessions) == 1
