"""A session that begins bare comes to the same as one that has all made from the first byte.

Whatever is done to both, in whatever order, and whenever the bare one has the rest made: the same bytes
arrive, the same ends are seen, and the same is recorded and counted. Every deed is followed by all that
follows from it, so that nothing depends on how many turns something takes.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from select import EPOLLIN, EPOLLOUT, EPOLLRDHUP
from socket import IPPROTO_TCP, MSG_MORE, TCP_NODELAY
from typing import Any
from unittest.mock import patch

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from support.bare import whole
from support.memory_peers import OpenSslPeer
from support.memory_poller import MemoryPoller
from support.network import no_logged_failure
from support.scene import ONE, TWO, BareScene, Scene, WholeScene
from support.tls_scene import TLS
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.net.pump import CHUNK
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.backend import AdminState
from tcpbalance.proxy.accept_pause import AcceptPause
from tcpbalance.proxy.bare_session import BareSession
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord

Deed = tuple[Any, ...]

DURATIONS = ("session_time", "connect_time", "queue_time.", "queue_time_us")
"""How counters of durations begin."""

SIDES = st.sampled_from(["client", "backend"])
EARLY = st.sampled_from([0, 1, 1000, 65_535, 65_536, 200_000])
"""Bytes that a client has sent by the time that it is accepted: fewer than a read takes, as many, more."""

DEEDS: st.SearchStrategy[Deed] = st.one_of(
    st.tuples(st.sampled_from(["send", "send_last"]), SIDES, st.sampled_from([1, 1000, 65_536, 200_000])),
    st.tuples(st.sampled_from(["finish", "finish", "reset", "stop_reading", "start_reading"]), SIDES),
    st.tuples(st.just("pass_time"), st.sampled_from([0.3, 2.0, 3.5, 200.0])),
    st.tuples(st.just("connect"), EARLY),
    st.tuples(st.sampled_from(["equip", "accept", "drain", "end_all", "narrow"])),
    st.tuples(st.sampled_from(["say_close_notify", "break_record"])),
)


def _without_unread(record: SessionRecord) -> SessionRecord:
    """While a bare session dials, the client's bytes stay in the kernel, where another one reads them.

    So a reset by the backend comes after more of them, or after fewer.
    """
    is_unsure = record.backend is None or record.reason is EndReason.BACKEND_RESET
    return evolve(record, client_bytes=0) if is_unsure else record


BEHAVIOURS = st.sampled_from(
    ["accepts", "accepts", "speaks_at_once", "speaks_at_once", "refuses", "hangs", "resets_at_once"]
)


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
        if deed in {"send", "send_last", "finish", "reset", "stop_reading", "start_reading"}:
            self._peer(deed, *details)
        else:
            getattr(self, f"_{deed}")(*details)
        self._scene.run()

    def _peer(self, deed: str, side: str, *size: int) -> None:
        clients = self._scene.clients[-1:]
        peers = clients if side == "client" else self._connections()[-1:]
        for peer in peers:
            if peer.socket.closed or (size and peer.finished):
                continue
            if size:
                peer.send(self._noise.randbytes(*size))
                if deed == "send_last":
                    peer.finish()
            else:
                getattr(peer, deed)()

    def _connections(self) -> list[Any]:
        every = [peer for backend in self._scene.backends.values() for peer in backend.connections]
        return sorted(every, key=lambda peer: peer.socket.number)

    def _pass_time(self, seconds: float) -> None:
        self._scene.advance(seconds)

    def _connect(self, early: int) -> None:
        sessions = len(self._scene.frontend.registry.sessions)
        self._scene.connect(early=bytes(early))
        if len(self._scene.frontend.registry.sessions) == sessions:
            self._scene.refused.append(self._scene.clients.pop())

    def _equip(self) -> None:
        for session in list(self._scene.frontend.registry.sessions):
            if isinstance(session, BareSession) and session.is_bare:
                session._equip()

    def _say_close_notify(self) -> None:
        for client in self._tls_clients():
            client.say_close_notify()

    def _break_record(self) -> None:
        for client in self._tls_clients():
            client.break_record()

    def _tls_clients(self) -> list[OpenSslPeer]:
        """Give the last client, if it speaks TLS and may say more."""
        return [
            client
            for client in self._scene.clients[-1:]
            if isinstance(client, OpenSslPeer)
            and client.established
            and not (client.finished or client.socket.closed)
        ]

    def _narrow(self) -> None:
        """Leave little space towards the client, and less than a backend has."""
        for client in self._scene.clients[-1:]:
            outgoing = client.socket.other.outgoing
            if not (outgoing.unsent or outgoing.unread):
                outgoing.send_limit = outgoing.receive_limit = 500

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
        records = [evolve(_without_unread(record), wait=0.0, connect=None, total=0.0) for record in ended]
        del counts["bytes_in"]  # The sum over the records: see ``leftovers``.
        for name in [name for name in counts if name.startswith(DURATIONS)]:
            del counts[name]  # These are of the times.
        return Outcome(received, records, counts, [time for three in times for time in three])


def limits(clock: Callable[[], float]) -> AdmissionControl:
    return AdmissionControl(Access(), LimitsConfig(connections_per_client=2), clock)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "header": {"send_proxy_protocol": "v1"},
    "affinity": {"affinity": AffinityConfig(ttl=5.0)},
    "judged": {"outlier": OutlierConfig(slow_factor=3.0)},
    "ejection": {"outlier": OutlierConfig(consecutive_failures=1)},
    "queue": {"queue": 2, "queue_timeout": 5.0},
    "least connections": {"balance": "least_connections"},
    "slow start": {"slow_start": 5.0},
    "bounded load": {"bounded_load": 1.2},
    "TLS": TLS,
    "TLS, header": {**TLS, "send_proxy_protocol": "v1"},
    "TLS, queue": {**TLS, "queue": 2, "queue_timeout": 5.0},
}


@given(
    variant=st.sampled_from(list(VARIANTS)),
    size=st.sampled_from([4_000, 32_000, 200_000]),
    behaviours=st.tuples(BEHAVIOURS, BEHAVIOURS),
    early=EARLY,
    deeds=st.lists(DEEDS, max_size=15),
)
def test_it_comes_to_the_same(
    variant: str, size: int, behaviours: tuple[Any, Any], early: int, deeds: list[Deed]
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


def only_session(scene: Scene) -> Any:
    """Give the one session that is open, which is bare still."""
    (session,) = scene.frontend.registry.sessions
    assert isinstance(session, BareSession)
    assert session.is_bare
    return session


def more_flags(sock: Any) -> list[int]:
    """Note for each send of a socket whether more is to come in the same segment."""
    flags: list[int] = []
    send = sock.send

    def noting(data: bytes, how: int = 0) -> int:
        flags.append(how & MSG_MORE)
        return int(send(data, how))

    sock.send = noting
    return flags


def test_the_time_that_a_backend_took_is_recorded() -> None:
    scene = BareScene({ONE: "hangs"})
    client = scene.connect(early=b"question")
    scene.advance(1.0)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    only_session(scene)
    client.finish()
    scene.backends[ONE].connection.finish()
    scene.run()
    assert (scene.record.wait, scene.record.connect, scene.record.total) == (0.0, 1.0, 1.0)


def test_what_a_client_has_sent_during_the_dial_is_not_forgotten_with_the_next_event() -> None:
    scene = BareScene({ONE: "hangs"})
    scene.connect(early=b"question")
    scene.run()
    only_session(scene).on_client_events(EPOLLOUT)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert scene.backends[ONE].connection.received == b"question"


@pytest.mark.parametrize("of_client", [True, False])
def test_an_end_that_is_reported_again_is_no_activity(of_client: bool) -> None:
    scene = BareScene(settings={"idle_timeout": 100.0, "half_close_timeout": 50.0})
    client, backend = scene.joined(early=b"question")
    session = only_session(scene)
    scene.advance(1.0)
    (client if of_client else backend).finish()
    scene.run()
    active = session.active
    scene.advance(2.0)
    report = session.on_client_events if of_client else session.on_backend_events
    report(EPOLLIN | EPOLLRDHUP | EPOLLOUT)
    assert (session.is_bare, session.active) == (True, active)


@pytest.mark.parametrize("size", [0, CHUNK + 1])
def test_what_a_backend_says_at_once_is_counted(size: int) -> None:
    """Of a client that has much to say, the session is bare no more when it comes to the backend's bytes."""
    scene = BareScene()

    def greet(peer: Any) -> None:
        peer.send(b"hello")
        peer.step()

    scene.backends[ONE].on_accept = greet
    client = scene.connect(early=bytes(size))
    scene.run()
    client.finish()
    backend = scene.backends[ONE].connection
    backend.finish()
    scene.run()
    assert (len(backend.received), client.received) == (size, b"hello")
    assert (scene.record.client_bytes, scene.record.backend_bytes) == (size, 5)


def test_a_header_is_not_held_back_for_a_client_that_says_nothing() -> None:
    scene = BareScene(send_proxy_protocol="v1")
    _, backend = scene.joined()
    assert backend.received.startswith(b"PROXY TCP4 ")
    sock = only_session(scene)._backend_socket
    assert sock.getsockopt(IPPROTO_TCP, TCP_NODELAY) == 1


def test_a_reactor_that_is_torn_down_resets_both() -> None:
    scene = BareScene()
    client, backend = scene.joined(early=b"question")
    only_session(scene).on_teardown()
    scene.run()
    assert (client.saw, backend.saw, scene.ended) == ("reset", "reset", EndReason.BACKEND_RESET.word)


def test_a_failure_resets_both() -> None:
    scene = BareScene()
    client, backend = scene.joined(early=b"question")
    only_session(scene).on_failure(Failure(LookupError()))
    scene.run()
    assert (client.saw, backend.saw, scene.ended) == ("reset", "reset", EndReason.INTERNAL_ERROR.word)


def test_one_that_has_failed_after_it_was_made_whole_is_ended() -> None:
    scene = BareScene()
    scene.joined(early=b"question")
    session = whole(only_session(scene))
    session.on_failure(Failure(LookupError()))
    scene.run()
    assert scene.ended == EndReason.INTERNAL_ERROR.word


@pytest.mark.parametrize("size", [4, CHUNK, CHUNK + 1])
def test_a_message_is_carried_however_large(size: int) -> None:
    scene = BareScene()
    client, backend = scene.joined()
    client.send(bytes(size))
    scene.run()
    backend.send(bytes(size))
    scene.run()
    assert (len(backend.received), len(client.received)) == (size, size)


@pytest.mark.parametrize("of_client", [True, False])
def test_an_end_behind_a_message_goes_in_its_segment(of_client: bool) -> None:
    """And a message without an end behind it is not held back."""
    scene = BareScene()
    client, backend = scene.joined()
    session = only_session(scene)
    source, sink = (client, backend) if of_client else (backend, client)
    ours = session._backend_socket if of_client else session._client_socket
    flags = more_flags(ours)
    source.send(b"last")
    source.finish()
    source.step()
    scene.run()
    assert (sink.received, sink.saw, flags) == (b"last", "fin", [MSG_MORE])


@pytest.mark.parametrize(("early", "expected"), [(b"question", [MSG_MORE, 0]), (b"", [0])])
def test_the_header_and_what_follows_at_once_go_in_one_segment(early: bytes, expected: list[int]) -> None:
    scene = BareScene({ONE: "hangs"}, send_proxy_protocol="v1")
    scene.connect(early=early)
    scene.run()
    ours = only_session(scene)._backend_socket
    flags = more_flags(ours)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert scene.backends[ONE].connection.received.endswith(b"\r\n" + early)
    assert flags == expected


def test_a_header_that_is_taken_in_part() -> None:
    """What the client has said meanwhile comes after the rest of it."""
    scene = BareScene({ONE: "hangs"}, send_proxy_protocol="v1")
    client = scene.connect(early=b"question")
    scene.run()
    ours = only_session(scene)._backend_socket
    send, sizes = ours.send, [5]
    ours.send = lambda data, how=0: send(data[: sizes.pop() if sizes else None], how)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    assert backend.received.startswith(b"PROXY TCP4 ")
    assert backend.received.endswith(b"\r\nquestion")
    client.finish()
    backend.finish()
    scene.run()
    assert scene.record.client_bytes == 8


@pytest.mark.parametrize("size", [0, CHUNK])
def test_a_backend_that_speaks_with_its_accept(size: int) -> None:
    """One event says both."""
    scene = BareScene({ONE: "hangs"}, network={"send_buffer": 4 * CHUNK, "receive_buffer": 4 * CHUNK})
    client = scene.connect(early=bytes(size))
    scene.run()
    ours = only_session(scene)._backend_socket
    ours.incoming.unread += b"hello"
    scene.backends[ONE].behaviour = "accepts"
    scene.network._dials.step()
    session = only_session(scene)
    session.on_backend_events(EPOLLIN | EPOLLOUT)
    ours.watcher._woken.pop(ours.number, None)  # An edge comes only once.
    scene.run()
    assert client.received == b"hello"
    client.finish()
    scene.run()
    scene.backends[ONE].connection.finish()
    scene.run()
    assert (scene.record.client_bytes, scene.record.backend_bytes) == (size, 5)


def test_what_a_slow_reader_has_not_fetched_counts() -> None:
    scene = BareScene(network={"send_buffer": 4000, "receive_buffer": 100})
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(1000))
    scene.run()
    (session,) = scene.frontend.registry.sessions
    assert session.buffered == 900


def failing_register(failures: int) -> Callable[[MemoryPoller, int, int], None]:
    """Make a ``MemoryPoller.register`` that fails so many times, but for the first socket: the client's."""
    really = MemoryPoller.register
    outcomes = iter([False, *[True] * failures])

    def register(poller: MemoryPoller, number: int, events: int) -> None:
        if next(outcomes, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(poller, number, events)

    return register


@pytest.mark.parametrize("failures", [1, 100])
def test_a_socket_that_cannot_be_watched_is_a_failed_attempt(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``epoll_ctl`` finds no memory, or the bound on what a user may watch is reached."""
    outcomes = []
    for kind in (BareScene, WholeScene):
        scene = kind((ONE, TWO), retries=1)
        with monkeypatch.context() as patched, no_logged_failure():
            patched.setattr(MemoryPoller, "register", failing_register(failures))
            scene.connect(early=b"question")
            scene.run()
        reasons = [(record.reason.word, record.failures) for record in scene.records]
        accepted = [len(backend.connections) for backend in scene.backends.values()]
        outcomes.append((reasons, accepted, scene.active))
        scene.leave()
        assert scene.leftovers() == []
    bare, whole = outcomes
    assert bare == whole


@pytest.mark.parametrize("admission", [None, limits])
def test_one_whose_end_cannot_be_reported_ends_once(admission: Any) -> None:
    """What is called at its end raises, after it was counted."""
    scene = BareScene(settings={"connections": 1}, admission=admission)
    client, backend = scene.joined()
    with patch.object(AcceptPause, "resume", side_effect=OSError(errno.ENOSPC, "")), capturedLogs():
        backend.finish()
        scene.run()
        client.finish()
        scene.run()
    assert scene.frontend.stats.snapshot()["connections_active"] == 0
    assert sum(scene.frontend.stats.ended.values()) == 1
    assert scene.inside == 0
