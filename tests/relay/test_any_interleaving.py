"""Whatever both sides do, and in whatever order: every byte arrives in order, or the other side sees a reset.

A side that reads to the end of the stream has got everything that was sent to it: a part never looks like
the whole. A side that is reset because the other one broke off has got everything that had come from there
before. Afterwards nothing is left: no connection, no slot, no delayed call, and each session is accounted
for once.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.memory_peers import TlsPeer
from support.memory_pipes import MemoryPipes
from support.network import no_logged_failure
from support.scene import ONE, RETRY_ON_RESET, THREE, TWO, Scene
from tcpbalance.net.splice import PIPE_SIZE
from tcpbalance.proxy.reasons import EndReason

BOUND = 512 * 1024
DEADLINES = {
    EndReason.DIAL_TIMEOUT,
    EndReason.IDLE_TIMEOUT,
    EndReason.HALF_CLOSE_TIMEOUT,
    EndReason.MAX_CONNECTION_AGE,
}
ENDS_OF_A_DIAL = {EndReason.CLIENT_CLOSED, EndReason.DIAL_TIMEOUT}
"""Ends that may come after a backend has reset one attempt, and while another attempt is under way."""

SIDES = st.sampled_from(["client", "backend"])

SOON = 3.0
"""Seconds in which it is noticed that a peer has got everything."""

Action = tuple[Any, ...]

SENDS: st.SearchStrategy[Action] = st.tuples(
    st.just("send"), SIDES, st.sampled_from([1, 1000, 70_000, 700_000])
)
SMALL_SENDS: st.SearchStrategy[Action] = st.tuples(st.just("send"), SIDES, st.sampled_from([1, 1000, 70_000]))
OTHER_DEEDS: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("stop_reading"), SIDES),
    st.tuples(st.just("start_reading"), SIDES),
    st.tuples(st.just("finish"), SIDES),
    st.tuples(st.just("reset"), SIDES),
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("run")),
    st.tuples(st.just("accept")),
)
DEEDS = SENDS | OTHER_DEEDS
HARMLESS_TIME: st.SearchStrategy[Action] = st.tuples(st.just("pass_time"), st.sampled_from([0.5, 1.0, 2.0]))
"""Time goes by, but not so much that a deadline comes, save that of a dial."""

ANY_TIME: st.SearchStrategy[Action] = st.tuples(st.just("pass_time"), st.sampled_from([1.0, 6.0, 11.0, 40.0]))


class Play:
    """One session: what its two sides do, and what has to hold meanwhile.

    :param scene: with nobody connected yet.
    :param how: how the client connects.
    """

    def __init__(self, scene: Scene, **how: Any) -> None:
        self.scene = scene
        self._noise = random.Random(0)
        self._read: dict[Any, int] = {}
        self._owed: dict[Any, int] = {}
        self._sent_at_the_end: dict[Any, tuple[int, bool]] = {}
        self.client = scene.connect(**how)

    @property
    def connections(self) -> list[Any]:
        """The backends' connections, the oldest first."""
        every = [peer for backend in self.scene.backends.values() for peer in backend.connections]
        return sorted(every, key=lambda peer: peer.socket.number)

    @property
    def backend(self) -> Any:
        """The latest connection to a backend, None while there is none."""
        return self.connections[-1] if self.connections else None

    # Deeds

    def act(self, deed: str, *details: Any) -> None:
        """Do something, unless it cannot be done."""
        if deed == "send":
            self._send(*details)
        elif deed == "reset":
            self._reset(*details)
        elif details and isinstance(details[0], str):
            for peer in self._at(details[0]):
                getattr(peer, deed)()
        else:
            getattr(self, f"_{deed}")(*details)
        self.check()

    def _at(self, side: str) -> list[Any]:
        """Who is at that side, unless nobody is or it has closed."""
        peer = self.client if side == "client" else self.backend
        return [] if peer is None or peer.socket.closed else [peer]

    def _send(self, side: str, size: int) -> None:
        for peer in self._at(side):
            if not peer.finished:
                peer.send(self._noise.randbytes(size))

    def _reset(self, side: str) -> None:
        for peer in self._at(side):
            sessions = self.scene.frontend.registry.sessions
            joined = any(session.served_by and not session.ending for session in sessions)
            peer.reset()
            if joined:
                self._owed[peer] = 0 if isinstance(peer, TlsPeer) else peer.arrived

    def _step(self, times: int) -> None:
        for _ in range(times):
            self.scene.network.step()
            self.check()

    def _run(self) -> None:
        while self.scene.network.step():
            self.check()

    def _pass_time(self, seconds: float) -> None:
        self.scene.advance(seconds)

    def _accept(self) -> None:
        for backend in self.scene.backends.values():
            backend.behaviour = "accepts"

    # What holds at any time

    def check(self) -> None:
        """No more is kept than may be, nothing arrives that was not sent, no part looks like the whole."""
        assert self.scene.kept < BOUND
        self._note_the_end()
        for connection in self.connections:
            self._check_bytes(connection, self.client)
            self._check_whole(connection, self.client)
        if self.backend is None:
            assert self.client.received == b""
        else:
            self._check_bytes(self.client, self.backend)
            self._check_whole(self.client, self.backend)

    def _check_bytes(self, reader: Any, sender: Any) -> None:
        read = self._read.get(reader, 0)
        new = reader.received_since(read)
        assert sender.sent[read : read + len(new)] == new
        self._read[reader] = read + len(new)

    def _note_the_end(self) -> None:
        """What is sent after the end was decided is nobody's loss."""
        if self.scene.decided and not self._sent_at_the_end:
            everybody = (self.client, *self.connections)
            self._sent_at_the_end = {peer: (len(peer.sent), peer.finished) for peer in everybody}

    def _check_whole(self, reader: Any, sender: Any) -> None:
        if not reader.complete or reader.left_first:
            return
        sent, finished = self._sent_at_the_end.get(sender, (len(sender.sent), sender.finished))
        assert self._read[reader] == sent, "a part looks like the whole"
        assert finished or (reader is self.client and self._was_never_served), "an end was made up"

    @property
    def _was_never_served(self) -> bool:
        """Whether the session ends while it dials: then its client was given nothing and is closed in order,
        although a backend may have reset an earlier attempt."""
        if self.client.received:
            return False
        if self.scene.records:
            return not self.scene.record.succeeded and self.scene.record.reason in ENDS_OF_A_DIAL
        sessions: Any = self.scene.frontend.registry.sessions
        return all(s.served_by is None and s._reason in ENDS_OF_A_DIAL for s in sessions)

    @property
    def _deadline_came(self) -> bool:
        registry: Any = self.scene.frontend.registry
        ended = {session._reason for session in registry.sessions} | set(self.scene.frontend.stats.ended)
        return bool(ended & DEADLINES)

    # How it ends

    def settle(self) -> None:
        """Everybody reads, and every dial comes to its end."""
        self._accept()
        for peer in (self.client, *self.connections):
            peer.start_reading()
        self._run()
        self._pass_time(3 * self.scene.pool.connect_timeout)
        self._run()
        self.check()

    def check_end(self) -> None:
        """All was delivered, or whoever lacks something knows."""
        client, backend = self.client, self.backend
        if backend is None or self._deadline_came:
            return
        if not client.on_connection_error and not backend.on_connection_error:
            self._check_delivery()
        elif not client.on_connection_error:
            self._check_news(client, backend)
        elif not backend.on_connection_error:
            self._check_news(backend, client)

    def _check_delivery(self) -> None:
        client, backend = self.client, self.backend
        assert self._got_all(backend, client)
        assert self._got_all(client, backend)
        if client.finished and backend.finished:
            assert self.scene.record.reason in {EndReason.CLIENT_CLOSED, EndReason.BACKEND_CLOSED}

    def _got_all(self, reader: Any, sender: Any) -> bool:
        cut_short = isinstance(sender, TlsPeer) != isinstance(reader, TlsPeer) and reader.saw == "reset"
        return reader.left_first or reader.received == sender.sent or cut_short

    def _check_news(self, peer: Any, other: Any) -> None:
        self._pass_time(SOON)
        if not peer.left_first:
            assert len(peer.received) >= self._owed.get(other, 0), "what came before a reset is lost"
        for _ in range(2):
            if peer.saw != "reset" and not peer.finished:
                peer.send(b"anybody there?")
                self._pass_time(SOON)
        if peer.saw == "open" and isinstance(other, TlsPeer) and other.left_first:
            # Twisted never closes a TLS transport whose peer says close_notify while the producer is paused:
            # its loseConnection waits for the producer, which is resumed once and whose bytes are then
            # dropped.
            self._pass_time(2 * self.scene.frontend.context.timeouts.idle_timeout)
        assert peer.saw == "reset" or peer.complete

    def leave(self) -> None:
        """Nothing is left."""
        self.scene.leave()
        assert self.scene.leftovers() == []


def play(scene: Scene, deeds: list[Action], **how: Any) -> None:
    with no_logged_failure():
        session = Play(scene, **how)
        session.check()
        for deed in deeds:
            session.act(*deed)
        session.settle()
        session.check_end()
        session.leave()


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    """Small and large kernel buffers; connections that are ready together are served in any order; pipes
    that hold less than there is, that are not to be had, or that do not work on one end or the other."""
    size = draw(st.sampled_from([4_000, 32_000, 200_000]))
    pipes = MemoryPipes(
        size=draw(st.sampled_from([1_500, 50_000, PIPE_SIZE])),
        most=draw(st.sampled_from([0, 1, 1000, 1000])),
        refused=draw(st.sampled_from(["", "", "", "source", "sink"])),
    )
    shuffle = random.Random(draw(st.integers(0, 50)))
    return {"send_buffer": size, "receive_buffer": size, "shuffle": shuffle, "pipes": pipes}


@st.composite
def scenes(draw: st.DrawFn, /, **settings: Any) -> dict[str, Any]:
    """Arguments for a scene whose backends do well or badly."""
    behaviours = st.sampled_from(["accepts", "accepts", "accepts", "refuses", "hangs", "resets_at_once"])
    addresses = draw(st.sampled_from([(ONE,), (ONE, TWO), (ONE, TWO, THREE)]))
    return {
        "backends": {address: draw(behaviours) for address in addresses},
        "network": draw(networks()),
        "retry_on": draw(st.sampled_from([("connect_failed",), RETRY_ON_RESET["retry_on"]])),
        "settings": settings,
    }


def make(carrier: Any, arrangement: dict[str, Any], turns: int = 0, **more: Any) -> Scene:
    # What draws at random is used up by a run; an example that is pinned has to come out the same each time.
    scene: Scene = carrier(**copy.deepcopy(arrangement), **more)
    for backend in scene.backends.values():
        backend.turns = turns
    return scene


EARLY = st.binary(max_size=3)
TURNS = st.sampled_from([0, 0, 3])


@given(
    arrangement=scenes(half_close_timeout=1000.0),
    turns=TURNS,
    early=EARLY,
    deeds=st.lists(DEEDS | HARMLESS_TIME, max_size=25),
)
@example(  # A client that sent nothing finishes while the second backend hangs, after the first one's reset.
    arrangement={
        "backends": {ONE: "resets_at_once", TWO: "hangs"},
        "network": {"send_buffer": 4_000, "receive_buffer": 4_000, "shuffle": random.Random(0)},
        "retry_on": RETRY_ON_RESET["retry_on"],
        "settings": {"half_close_timeout": 1000.0},
    },
    turns=0,
    early=b"",
    deeds=[("finish", "client"), ("pass_time", 1.0)],
)
def test_any_interleaving(
    carrier: Any, arrangement: dict[str, Any], turns: int, early: bytes, deeds: list[Action]
) -> None:
    play(make(carrier, arrangement, turns), deeds, early=early)


@given(
    scenes(half_close_timeout=5.0, idle_timeout=10.0, max_connection_age=60.0),
    TURNS,
    EARLY,
    st.lists(DEEDS | ANY_TIME, max_size=25),
)
def test_any_interleaving_with_deadlines(
    carrier: Any, arrangement: dict[str, Any], turns: int, early: bytes, deeds: list[Action]
) -> None:
    play(make(carrier, arrangement, turns), deeds, early=early)


@pytest.mark.parametrize("tls", [False, True])
@settings(max_examples=60)
@given(
    arrangement=scenes(half_close_timeout=1000.0, bandwidth_per_connection=100_000),
    turns=TURNS,
    early=EARLY,
    deeds=st.lists(SMALL_SENDS | OTHER_DEEDS | HARMLESS_TIME, max_size=25),
)
def test_any_interleaving_within_a_bandwidth(
    carrier: Any, tls: bool, arrangement: dict[str, Any], turns: int, early: bytes, deeds: list[Action]
) -> None:
    """Both have more to say than may come at once; all of it comes in the time that is left for dials."""
    much: list[Action] = [("run",), ("send", "client", 70_000), ("send", "backend", 70_000)]
    scene = make(carrier, arrangement, turns, connect_timeout=8.0)
    play(scene, [*much, *deeds], early=early, tls=tls)


@pytest.mark.parametrize(("client", "backends"), [(True, False), (False, True), (True, True)])
@settings(max_examples=60)
@given(
    arrangement=scenes(half_close_timeout=1000.0),
    turns=TURNS,
    early=EARLY,
    deeds=st.lists(DEEDS, max_size=25),
)
@example(  # The client finishes before a backend's handshake is over: once an abort, told as the backend's.
    arrangement={
        "backends": {ONE: "accepts"},
        "network": {"send_buffer": 4_000, "receive_buffer": 4_000, "shuffle": random.Random(0)},
        "settings": {"half_close_timeout": 1000.0},
    },
    turns=0,
    early=b"",
    deeds=[("finish", "client"), ("run",), ("finish", "backend")],
)
def test_any_interleaving_with_tls(
    carrier: Any,
    client: bool,
    backends: bool,
    arrangement: dict[str, Any],
    turns: int,
    early: bytes,
    deeds: list[Action],
) -> None:
    play(make(carrier, arrangement, turns, tls_backends=backends), deeds, early=early, tls=client)
