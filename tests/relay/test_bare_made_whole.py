"""What a bare session does itself, and each reason for which it has the rest made.

Every script is played with sessions that begin bare and with sessions that have all made from the first byte,
and comes out the same.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from select import EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from socket import IPPROTO_TCP, MSG_DONTWAIT, MSG_MORE, TCP_NODELAY
from typing import Any
from unittest.mock import Mock, patch

import pytest

from support.memory_socket import MemorySocket
from support.network import no_logged_failure
from support.scene import ONE, TWO, BareScene, Scene, WholeScene
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.net.connect_attempt import ConnectAttempt
from tcpbalance.net.pump import CHUNK
from tcpbalance.net.tcp_info import NOTICEABLE
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.policies.base import PolicyTools
from tcpbalance.pool.selection import Selection
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.reasons import EndReason

Carrier = Callable[..., Scene]

HERE = "192.0.2.80:80"
"""What every memory socket calls its own address, as that of a backend."""

NEVER = 10_000.0
"""Seconds; longer than any script."""

UNHURRIED: dict[str, Any] = {"connect_timeout": NEVER, "dial_timeout": NEVER}


@pytest.fixture(params=[BareScene, WholeScene], ids=lambda carrier: carrier.__name__, scope="module")
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """Makes a scene with sessions of one kind."""
    made: Carrier = request.param
    return made


def ours(peer: Any) -> Any:
    """Give the balancer's end of a connection."""
    return peer.socket.other


def dialling(scene: Scene) -> Any:
    """Give the socket of the one dial that is under way."""
    (dial,) = scene.network.dialled
    return dial.sock


def accept(scene: Scene) -> Any:
    """Let the one dial that is under way be connected, and give its socket; no event has reported it yet."""
    (dial,) = scene.network.dialled
    dial.connected = True
    dial.sock.accepted()
    return dial.sock


def side(scene: Scene, of_client: bool) -> tuple[Any, Any]:
    """Give the client and the backend, or the other way round."""
    (backend,) = [peer for each in scene.backends.values() for peer in each.connections]
    client = scene.clients[-1]
    return (client, backend) if of_client else (backend, client)


# Its beginning


def test_an_exception_at_the_beginning_ends_it() -> None:
    scene = BareScene()
    with (
        patch.object(Selection, "choose", side_effect=LookupError("broken")),
        pytest.raises(AssertionError, match="a session could not go on"),
        no_logged_failure(),
    ):
        scene.connect(early=b"question")
    scene.run()
    assert (scene.ended, scene.clients[0].saw) == (EndReason.INTERNAL_ERROR.word, "reset")
    scene.leave()
    assert scene.leftovers() == []


@pytest.mark.parametrize("behaviour", ["lacks_descriptor", "lacks_buffers"])
def test_a_dial_that_fails_at_once(make_scene: Carrier, behaviour: str) -> None:
    outcome = {"lacks_descriptor": EndReason.OUT_OF_DESCRIPTORS, "lacks_buffers": EndReason.LOCAL_FAILURE}
    scene = make_scene({ONE: behaviour}, retries=0)
    scene.connect(early=b"question")
    scene.run()
    assert (scene.ended, scene.record.attempts) == (outcome[behaviour].word, 1)
    assert [backend for backend, _ in scene.record.failures] == [ONE]


def test_a_dial_that_fails_at_once_is_made_again(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "lacks_buffers", TWO: "accepts"}, retries=1)
    client, backend = scene.connect(early=b"question"), scene.backends[TWO]
    scene.run()
    assert (backend.connection.received, client.saw) == (b"question", "open")


def test_a_client_for_whom_there_is_no_backend(make_scene: Carrier) -> None:
    scene = make_scene()
    scene.pool.set_admin_state(scene.pool.backends[0], AdminState.MAINTENANCE)
    client = scene.connect(early=b"question")
    scene.run()
    assert (scene.ended, client.saw, scene.record.attempts) == (EndReason.NO_BACKEND.word, "reset", 0)


def test_a_client_that_waits_for_a_backend(make_scene: Carrier) -> None:
    scene = make_scene(members=[Backend(ONE, max_connections=1)], queue=1)
    first, _ = scene.joined()
    second = scene.connect(early=b"question")
    scene.advance(1.0)
    first.reset()
    scene.run()
    backend = scene.backends[ONE].connections[-1]
    assert backend.received == b"question"
    second.finish()
    backend.finish()
    scene.run()
    assert [(record.attempts, record.wait) for record in scene.records] == [(1, 0.0), (1, 1.0)]


def test_a_client_whose_sticky_backend_fails_is_not_sent_there_again(make_scene: Carrier) -> None:
    rules = {"affinity": AffinityConfig(ttl=NEVER), "outlier": OutlierConfig(consecutive_failures=9)}
    scene = make_scene((ONE, TWO), retries=1, **rules)
    scene.connect(early=b"question")
    scene.run()
    scene.backends[ONE].behaviour = "refuses"
    scene.connect(early=b"question")
    scene.run()
    assert scene.backends[TWO].connection.received == b"question"
    assert scene.backends[ONE].dials == 2


@pytest.mark.parametrize(
    ("settings", "pool", "reason", "total"),
    [
        ({}, {"connect_timeout": 2.0, "retries": 0}, EndReason.CONNECT_FAILED, 2.0),
        ({"max_connection_age": 2.0}, {}, EndReason.MAX_CONNECTION_AGE, 2.0),
    ],
)
def test_the_first_deadline_of_a_dial_ends_it(
    make_scene: Carrier,
    settings: dict[str, float],
    pool: dict[str, float],
    reason: EndReason,
    total: float,
) -> None:
    scene = make_scene({ONE: "hangs"}, settings=settings, **{**UNHURRIED, **pool})
    scene.advance(100.0)
    scene.connect(early=b"question")
    scene.advance(10.0)
    assert scene.ended == reason.word
    assert scene.record.total == pytest.approx(total, abs=RESOLUTION + 0.3)


def test_silence_is_noticed_in_its_time(make_scene: Carrier) -> None:
    scene = make_scene(settings={"idle_timeout": 2.0}, **UNHURRIED)
    scene.joined(early=b"question")
    scene.advance(10.0)
    assert scene.ended == EndReason.IDLE_TIMEOUT.word
    assert 3.0 <= scene.record.total <= 4.5


def test_silence_counts_from_the_accept(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"}, settings={"idle_timeout": 10.0}, **UNHURRIED)
    scene.advance(100.0)
    scene.connect()
    scene.advance(4.0)
    scene.backends[ONE].behaviour = "accepts"
    scene.advance(60.0)
    assert scene.ended == EndReason.IDLE_TIMEOUT.word
    assert 14.0 <= scene.record.total <= 16.5


def test_silence_counts_from_the_last_message_of_many(make_scene: Carrier) -> None:
    scene = make_scene(settings={"idle_timeout": 10.0}, **UNHURRIED)
    client, backend = scene.joined()
    for _ in range(3):
        scene.advance(4.0)
        client.send(b"question")
        scene.run()
        backend.send(b"answer")
    scene.advance(60.0)
    assert scene.ended == EndReason.IDLE_TIMEOUT.word
    assert 22.0 <= scene.record.total <= 24.5


@pytest.mark.parametrize("of_client", [True, False])
def test_silence_counts_from_the_second_message(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene(settings={"idle_timeout": 10.0}, **UNHURRIED)
    scene.joined()
    source, _ = side(scene, of_client)
    for _ in range(2):
        scene.advance(7.0)
        source.send(b"message")
    scene.advance(60.0)
    assert scene.ended == EndReason.IDLE_TIMEOUT.word
    assert 24.0 <= scene.record.total <= 26.5


def test_a_dial_goes_on_when_its_deadlines_are_looked_at(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"}, settings={"idle_timeout": 2.0}, connect_timeout=20.0)
    scene.advance(100.0)
    client = scene.connect(early=b"question")
    scene.advance(5.0)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert (scene.backends[ONE].connection.received, client.saw) == (b"question", "open")
    assert scene.backends[ONE].dials == 1


@pytest.mark.parametrize("of_client", [True, False])
def test_silence_counts_from_the_last_message(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene(settings={"idle_timeout": 10.0}, **UNHURRIED)
    scene.joined()
    scene.advance(4.0)
    source, _ = side(scene, of_client)
    source.send(b"message")
    scene.advance(60.0)
    assert scene.ended == EndReason.IDLE_TIMEOUT.word
    assert 14.0 <= scene.record.total <= 16.5


@pytest.mark.parametrize("of_client", [True, False])
def test_the_time_for_the_other_side_counts_from_the_end(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene(settings={"half_close_timeout": 10.0}, **UNHURRIED)
    scene.joined()
    scene.advance(4.0)
    source, sink = side(scene, of_client)
    source.finish()
    scene.advance(60.0)
    assert scene.ended == EndReason.HALF_CLOSE_TIMEOUT.word
    assert 14.0 <= scene.record.total <= 16.5
    assert (source.saw, sink.saw) == ("reset", "fin")


class Generated:
    """A policy that has a generator only, and notes when that is closed."""

    closed: list[int]

    def __init__(self, backends: Any, tools: PolicyTools) -> None:
        self._backends = backends
        self.closed = []
        type(self).last = self  # type: ignore[attr-defined]

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        passed_over = 0
        try:
            for backend in self._backends:
                yield backend
                passed_over += 1
        finally:
            self.closed.append(passed_over)


def test_a_policy_hears_at_once_that_its_choice_was_taken(make_scene: Carrier) -> None:
    scene = make_scene((ONE, TWO), balance=Generated)
    policy: Any = Generated.last  # type: ignore[attr-defined]
    scene.connect()
    assert policy.closed == []
    scene.run()
    assert policy.closed == [0]


# How long connecting took


def test_how_long_connecting_took_is_judged(make_scene: Carrier) -> None:
    scene = make_scene(outlier=OutlierConfig(slow_factor=3.0))
    with patch.object(Slot, "took") as took:
        scene.joined()
    took.assert_called_once_with(0.0, NOTICEABLE)


def test_of_a_connection_that_takes_no_time_nothing_is_judged(make_scene: Carrier) -> None:
    """As of a unix socket."""
    scene = make_scene({ONE: "hangs"}, outlier=OutlierConfig(slow_factor=3.0))
    scene.connect()
    scene.run()
    sock = dialling(scene)
    answer = sock.getsockopt

    def getsockopt(level: int, name: int, size: int = 0) -> Any:
        if size:
            raise OSError
        return answer(level, name)

    sock.getsockopt = getsockopt
    scene.backends[ONE].behaviour = "accepts"
    with patch.object(Slot, "took") as took:
        scene.run()
    took.assert_not_called()
    assert len(scene.backends[ONE].connections) == 1


def test_nothing_is_judged_where_slowness_does_not_matter(make_scene: Carrier) -> None:
    scene = make_scene(outlier=OutlierConfig(consecutive_failures=1))
    with patch.object(Slot, "took") as took:
        scene.joined()
    took.assert_not_called()


# The PROXY header


@pytest.mark.parametrize("made_whole", [False, True])
def test_the_header_names_the_address_that_the_client_came_to(make_scene: Carrier, made_whole: bool) -> None:
    with patch.object(MemorySocket, "getsockname", lambda sock: ("192.0.2.80", sock.number)):
        scene = make_scene({ONE: "hangs"}, send_proxy_protocol="v1")
        client = scene.connect(early=b"question")
        scene.run()
        if made_whole:
            client.finish()
            scene.run()
        scene.backends[ONE].behaviour = "accepts"
        scene.run()
    port = ours(client).number
    line = f"PROXY TCP4 198.51.100.7 192.0.2.80 40000 {port}\r\n"
    assert scene.backends[ONE].connection.received == line.encode() + b"question"


@pytest.mark.parametrize("early", [b"", b"question"])
@pytest.mark.parametrize("made_whole", ["never", "while it dials", "later"])
def test_the_record_has_the_name_in_the_header(make_scene: Carrier, early: bytes, made_whole: str) -> None:
    scene = make_scene({ONE: "hangs"}, send_proxy_protocol="v2")
    client = scene.connect(early=early)
    scene.run()
    if made_whole == "while it dials":
        client.send(b"!")
        client.finish()
        scene.run()
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    if made_whole == "later":
        for _ in range(2):
            client.send(b"!")
            scene.run()
    backend.finish()
    client.finish()
    scene.run()
    assert scene.record.unique_id is not None
    assert scene.record.unique_id.encode() in backend.received
    assert scene.record.client_bytes == len(client.sent)


# Events


def test_a_connection_that_leads_back_to_itself_is_a_failed_attempt(make_scene: Carrier) -> None:
    scene = make_scene((HERE,), retries=0)
    scene.network.connector.own_ports = range(80, 81)  # type: ignore[attr-defined]
    scene.connect(early=b"question")
    scene.run()
    assert scene.ended == EndReason.CONNECT_FAILED.word
    assert scene.record.failures == ((HERE, "refused"),)
    assert scene.backends[HERE].connection.received == b""


def reads(sock: Any) -> list[int]:
    """Note how many bytes each read of a socket may take."""
    limits: list[int] = []
    recv = sock.recv

    def noting(limit: int, flags: int = 0) -> bytes:
        limits.append(limit)
        return bytes(recv(limit, flags))

    sock.recv = noting
    return limits


def short_reads(sock: Any, size: int) -> None:
    """Let the next read of a socket stop after *size* bytes, as before an urgent byte."""
    recv, sizes = sock.recv, [size]
    sock.recv = lambda limit, flags=0: recv(sizes.pop() if sizes else limit, flags)


@pytest.mark.parametrize("of_client", [True, False])
def test_an_event_that_tells_of_no_bytes_costs_no_read(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, _ = side(scene, of_client)
    limits = reads(ours(source))
    scene.network.report(ours(source), EPOLLOUT)
    assert limits == []


def test_an_accept_without_bytes_costs_no_read(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect()
    scene.run()
    limits = [reads(sock) for sock in (ours(client), dialling(scene))]
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert limits == [[], []]


@pytest.mark.parametrize("of_client", [True, False])
def test_a_message_costs_one_read(make_scene: Carrier, of_client: bool) -> None:
    """One that is short has taken all there is."""
    scene = make_scene()
    scene.joined()
    source, _ = side(scene, of_client)
    limits = reads(ours(source))
    source.send(b"message")
    scene.run()
    assert len(limits) == 1


@pytest.mark.parametrize("of_client", [True, False])
def test_an_event_behind_which_there_is_nothing_is_ignored(make_scene: Carrier, of_client: bool) -> None:
    """Events are hints."""
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    scene.network.report(ours(source), EPOLLIN)
    source.send(b"message")
    scene.run()
    assert sink.received == b"message"


@pytest.mark.parametrize("of_client", [True, False])
def test_what_comes_behind_an_urgent_byte(make_scene: Carrier, of_client: bool) -> None:
    """A read stops before it, short and with more behind it."""
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    short_reads(ours(source), 3)
    source.send(b"message")
    scene.network.report(ours(source), EPOLLIN | EPOLLPRI)
    scene.run()
    assert sink.received == b"message"


def test_an_urgent_byte_that_comes_with_the_accept(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect()
    scene.run()
    sock = accept(scene)
    sock.incoming.unread += b"hello"
    short_reads(sock, 3)
    scene.network.report(sock, EPOLLIN | EPOLLOUT | EPOLLPRI)
    scene.run()
    assert client.received == b"hello"


def test_a_client_that_sends_an_urgent_byte_while_a_backend_is_dialled(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect()
    scene.run()
    short_reads(ours(client), 3)
    client.send(b"question")
    scene.network.report(ours(client), EPOLLIN | EPOLLPRI)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert scene.backends[ONE].connection.received == b"question"


@pytest.mark.parametrize("of_client", [True, False])
def test_a_read_that_meets_a_reset(make_scene: Carrier, of_client: bool) -> None:
    """It comes between the event and the read."""
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    source.reset()
    scene.network.report(ours(source), EPOLLIN)
    scene.run()
    reason = EndReason.CLIENT_RESET if of_client else EndReason.BACKEND_RESET
    assert (scene.ended, sink.saw) == (reason.word, "reset")


@pytest.mark.parametrize("of_client", [True, False])
def test_a_read_that_stops_between_two_parts(make_scene: Carrier, of_client: bool) -> None:
    """On a unix socket, where a message with descriptors begins."""
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    if scene.begins_bare:
        ours(source).family = socket.AF_UNIX
        short_reads(ours(source), 3)
    source.send(b"message")
    source.finish()
    source.step()
    scene.run()
    assert (sink.received, sink.saw) == (b"message", "fin")
    sink.finish()
    scene.run()
    sizes = (scene.record.client_bytes, scene.record.backend_bytes)
    assert sizes == ((7, 0) if of_client else (0, 7))


# What does not go out at once


@pytest.mark.parametrize("finishes", [True, False])
@pytest.mark.parametrize("of_client", [True, False])
def test_a_message_that_is_taken_in_part(make_scene: Carrier, of_client: bool, finishes: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    pipe = ours(sink).outgoing
    pipe.send_limit = pipe.receive_limit = 100
    sink.stop_reading()
    source.send(bytes(range(256)) * 4)
    if finishes:
        source.finish()
    scene.run()
    assert (sink.received, sink.saw) == (b"", "open")
    sink.start_reading()
    scene.run()
    assert (sink.received, sink.saw) == (bytes(range(256)) * 4, "fin" if finishes else "open")
    source.finish()
    sink.finish()
    scene.run()
    sizes = (scene.record.client_bytes, scene.record.backend_bytes)
    assert sizes == ((1024, 0) if of_client else (0, 1024))


def test_a_backend_whose_buffer_the_header_has_filled(make_scene: Carrier) -> None:
    header = b"PROXY TCP4 198.51.100.7 192.0.2.80 40000 80\r\n"
    scene = make_scene({ONE: "hangs"}, send_proxy_protocol="v1")
    scene.connect(early=b"question")
    scene.run()
    pipe = dialling(scene).outgoing
    pipe.send_limit, pipe.receive_limit = 4, len(header) - 4
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert scene.backends[ONE].connection.received == header + b"question"


@pytest.mark.parametrize("finishes", [True, False])
@pytest.mark.parametrize("of_client", [True, False])
def test_a_send_that_meets_a_reset(make_scene: Carrier, of_client: bool, finishes: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    source.send(b"message")
    if finishes:
        source.finish()
        source.step()
    sink.reset()
    scene.network.report(ours(source), EPOLLIN | (EPOLLRDHUP if finishes else 0))
    scene.run()
    reason = EndReason.BACKEND_RESET if of_client else EndReason.CLIENT_RESET
    assert (scene.ended, source.saw) == (reason.word, "reset")
    sizes = (scene.record.client_bytes, scene.record.backend_bytes)
    assert sizes == ((7, 0) if of_client else (0, 7))


@pytest.mark.parametrize("of_client", [True, False])
def test_the_last_message_meets_a_reset(make_scene: Carrier, of_client: bool) -> None:
    """Both have finished, and yet not all was delivered."""
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    sink.finish()
    scene.run()
    source.send(b"message")
    source.finish()
    source.step()
    sink.reset()
    scene.network.report(ours(source), EPOLLIN | EPOLLRDHUP)
    scene.run()
    reason = EndReason.BACKEND_RESET if of_client else EndReason.CLIENT_RESET
    assert scene.ended == reason.word


@pytest.mark.parametrize("of_client", [True, False])
def test_an_end_that_meets_a_reset(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    source.finish()
    source.step()
    sink.reset()
    scene.network.report(ours(source), EPOLLIN | EPOLLRDHUP)
    scene.run()
    reason = EndReason.BACKEND_RESET if of_client else EndReason.CLIENT_RESET
    assert (scene.ended, source.saw) == (reason.word, "reset")


def test_a_header_that_meets_a_reset() -> None:
    scene = BareScene({ONE: "hangs"}, send_proxy_protocol="v1")
    client = scene.connect(early=b"question")
    scene.run()
    sock = accept(scene)
    sock.hear_reset()
    scene.network.report(sock, EPOLLOUT)
    scene.run()
    assert (scene.ended, client.saw) == (EndReason.BACKEND_RESET.word, "reset")
    assert scene.leftovers() == []


@pytest.mark.parametrize("of_client", [True, False])
def test_an_end_that_cannot_be_passed_on(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    ours(sink).shutdown = Mock(side_effect=OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN)))
    source.finish()
    scene.run()
    reason = EndReason.BACKEND_RESET if of_client else EndReason.CLIENT_RESET
    assert (scene.ended, source.saw) == (reason.word, "reset")


def flags_of(sock: Any) -> list[int]:
    """Note the flags of each send of a socket, but that it must not wait."""
    noted: list[int] = []
    send = sock.send

    def noting(data: bytes, flags: int = 0) -> int:
        noted.append(flags & ~MSG_DONTWAIT)
        return int(send(data, flags))

    sock.send = noting
    return noted


@pytest.mark.parametrize("finishes", [True, False])
@pytest.mark.parametrize("of_client", [True, False])
def test_only_what_an_end_follows_may_wait_for_it(
    make_scene: Carrier, of_client: bool, finishes: bool
) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    flags = flags_of(ours(sink))
    source.send(b"message")
    if finishes:
        source.finish()
        source.step()
    scene.run()
    assert flags == [MSG_MORE if finishes else 0]
    assert (sink.saw, source.saw) == ("fin" if finishes else "open", "open")


@pytest.mark.parametrize(("early", "expected"), [(b"question", [MSG_MORE, 0]), (b"", [0])])
def test_only_a_header_that_bytes_follow_may_wait_for_them(early: bytes, expected: list[int]) -> None:
    """Else nothing may wait any more, since what follows is a second write."""
    scene = BareScene({ONE: "hangs"}, send_proxy_protocol="v1")
    scene.connect(early=early)
    scene.run()
    sock = dialling(scene)
    flags = flags_of(sock)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert flags == expected
    assert sock.getsockopt(IPPROTO_TCP, TCP_NODELAY) == (not early)


def test_a_header_waits_for_no_client_that_has_said_nothing() -> None:
    """Of which something else was reported."""
    scene = BareScene({ONE: "hangs"}, send_proxy_protocol="v1")
    client = scene.connect()
    scene.run()
    scene.network.report(ours(client), EPOLLOUT)
    flags = flags_of(dialling(scene))
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert flags == [0]


def test_a_second_write_waits_for_nothing() -> None:
    scene = BareScene()
    client, backend = scene.joined(early=b"question")
    assert ours(backend).getsockopt(IPPROTO_TCP, TCP_NODELAY) == 0
    client.send(b"another")
    scene.run()
    assert ours(backend).getsockopt(IPPROTO_TCP, TCP_NODELAY) == 1


def test_no_write_waits_for_anything_after_a_dial_that_went_on() -> None:
    scene = BareScene({ONE: "hangs"})
    client = scene.connect(early=b"question")
    scene.run()
    client.finish()
    scene.run()
    assert dialling(scene).getsockopt(IPPROTO_TCP, TCP_NODELAY) == 1


def short_send(sock: Any, size: int) -> None:
    """Let the next send of a socket take so many bytes and no more; none at all is an error."""
    send, sizes = sock.send, [size]

    def sending(data: bytes, flags: int = 0) -> int:
        limit = sizes.pop() if sizes else len(data)
        if not limit:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return int(send(data[:limit], flags))

    sock.send = sending


@pytest.mark.parametrize("taken", [0, 5])
def test_what_is_left_of_a_header_may_wait_for_what_follows_it(taken: int) -> None:
    scene = BareScene({ONE: "hangs"}, send_proxy_protocol="v1")
    scene.connect(early=b"question")
    scene.run()
    sock = dialling(scene)
    short_send(sock, taken)
    flags = flags_of(sock)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert flags == [MSG_MORE, MSG_MORE, 0]
    assert scene.backends[ONE].connection.received.endswith(b" 80\r\nquestion")


@pytest.mark.parametrize("finishes", [True, False])
@pytest.mark.parametrize("of_client", [True, False])
@pytest.mark.parametrize("taken", [0, 5])
def test_what_is_left_of_a_message_may_wait_for_the_end_behind_it(
    taken: int, of_client: bool, finishes: bool
) -> None:
    scene = BareScene()
    scene.joined()
    source, sink = side(scene, of_client)
    short_send(ours(sink), taken)
    flags = flags_of(ours(sink))
    source.send(b"message")
    if finishes:
        source.finish()
        source.step()
    scene.run()
    assert flags == [MSG_MORE if finishes else 0] * 2
    assert (sink.received, sink.saw) == (b"message", "fin" if finishes else "open")


def lacks_memory(sock: Any) -> None:
    """Let the next send of a socket find no memory on this machine."""
    send, errors = sock.send, [OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))]

    def sending(data: bytes, flags: int = 0) -> int:
        if errors:
            raise errors.pop()
        return int(send(data, flags))

    sock.send = sending


@pytest.mark.parametrize("of_client", [True, False])
def test_a_message_for_which_there_is_no_memory(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    lacks_memory(ours(sink))
    source.send(b"message")
    scene.run()
    assert (source.saw, sink.saw, sink.received) == ("reset", "reset", b"")
    assert scene.ended == EndReason.LOCAL_FAILURE.word


@pytest.mark.parametrize("early", [b"question", b""])
def test_a_header_for_which_there_is_no_memory(make_scene: Carrier, early: bytes) -> None:
    scene = make_scene({ONE: "hangs"}, send_proxy_protocol="v1")
    client = scene.connect(early=early)
    scene.run()
    lacks_memory(dialling(scene))
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert (client.saw, scene.backends[ONE].connection.received) == ("reset", b"")
    assert scene.ended == EndReason.LOCAL_FAILURE.word


@pytest.mark.parametrize("size", [0, CHUNK])
def test_a_backend_that_speaks_and_finishes_with_its_accept(make_scene: Carrier, size: int) -> None:
    """One event says it all."""
    network = {"send_buffer": 4 * CHUNK, "receive_buffer": 4 * CHUNK}
    scene = make_scene({ONE: "hangs"}, network=network)
    client = scene.connect(early=bytes(size))
    scene.run()
    sock = accept(scene)
    sock.incoming.unread += b"hello"
    sock.incoming.fin_arrived = True
    scene.network.report(sock, EPOLLIN | EPOLLOUT | EPOLLRDHUP)
    scene.run()
    assert (client.received, client.saw) == (b"hello", "fin")
    assert len(sock.outgoing.unread) == size


# Backends that fail


def test_an_answer_keeps_resets_from_adding_up(make_scene: Carrier) -> None:
    rules = OutlierConfig(consecutive_failures=2)
    scene = make_scene((ONE, TWO), members=[Backend(ONE), Backend(TWO, backup=True)], outlier=rules)
    for answers in (False, True, False):
        scene.connect(early=b"question")
        scene.run()
        backend = scene.backends[ONE].connections[-1]
        if answers:
            backend.send(b"answer")
            scene.run()
        backend.reset()
        scene.run()
    assert scene.pool.snapshot()["ejections"] == 0
    scene.connect(early=b"question")
    scene.run()
    scene.backends[ONE].connections[-1].reset()
    scene.run()
    assert scene.pool.snapshot()["ejections"] == 1


# What a session is asked, and told, from outside


def test_who_serves_it_is_known_once_the_backend_has_accepted(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect(early=b"question")
    scene.run()
    registry, (backend,) = scene.frontend.registry, scene.pool.backends
    registry.end_sessions(EndReason.SHUTDOWN, served_by={backend})
    (session,) = registry.sessions
    served_by = [session.served_by]
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    served_by.append(session.served_by)
    assert served_by == [None, backend]
    registry.end_sessions(EndReason.SHUTDOWN, served_by={backend})
    scene.run()
    assert (scene.ended, client.saw) == (EndReason.SHUTDOWN.word, "reset")
    session.end(EndReason.OVERLOAD)
    assert scene.ended == EndReason.SHUTDOWN.word


@pytest.mark.parametrize("of_client", [True, False])
def test_who_serves_it_is_known_while_it_ends(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    ours(sink).outgoing.receive_limit = 100
    sink.stop_reading()
    source.send(bytes(180))
    scene.run()
    source.reset()
    scene.run()
    (backend,), (session,) = scene.pool.backends, scene.frontend.registry.sessions
    assert (session.ending, session.served_by) == (True, backend)


def test_one_that_is_over_is_not_ended_again(make_scene: Carrier) -> None:
    scene = make_scene()
    client, backend = scene.joined(early=b"question")
    (session,) = scene.frontend.registry.sessions
    client.finish()
    backend.finish()
    scene.run()
    session.end(EndReason.SHUTDOWN)
    assert (scene.ended, client.saw) == (EndReason.CLIENT_CLOSED.word, "fin")


@pytest.mark.parametrize("of_client", [True, False])
def test_what_waits_in_the_kernel_counts_as_buffered(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene(network={"send_buffer": 4000, "receive_buffer": 100})
    scene.joined()
    source, sink = side(scene, of_client)
    sink.stop_reading()
    source.send(bytes(80))
    scene.run()
    source.send(bytes(80))
    scene.run()
    (session,) = scene.frontend.registry.sessions
    assert session.buffered == 60


@pytest.mark.parametrize("of_client", [True, False])
def test_a_first_message_in_the_kernel_counts_as_buffered(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    ours(sink).outgoing.receive_limit = 100
    sink.stop_reading()
    source.send(bytes(180))
    scene.run()
    (session,) = scene.frontend.registry.sessions
    assert session.buffered == 80


@pytest.mark.parametrize("of_client", [True, False])
def test_what_is_kept_of_a_message_counts_as_buffered(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    pipe = ours(sink).outgoing
    pipe.send_limit = pipe.receive_limit = 100
    sink.stop_reading()
    source.send(bytes(1000))
    scene.run()
    (session,) = scene.frontend.registry.sessions
    assert session.buffered == 900


def test_a_reactor_that_is_torn_down_ends_one_that_relays(make_scene: Carrier) -> None:
    scene = make_scene(send_proxy_protocol="v2")
    scene.advance(100.0)
    client, backend = scene.joined(early=b"question")
    scene.advance(1.0)
    scene.network.tear_down()
    assert (client.saw, backend.saw, scene.ended) == ("reset", "reset", EndReason.BACKEND_RESET.word)
    assert (scene.record.backend, scene.record.wait, scene.record.total) == (ONE, 0.0, 1.0)
    assert str(scene.record.unique_id).encode() in backend.received


def test_a_reactor_that_is_torn_down_ends_one_that_dials(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"})
    scene.advance(100.0)
    client = scene.connect(early=b"question")
    scene.advance(1.0)
    scene.network.tear_down()
    assert (client.saw, scene.ended) == ("reset", EndReason.CLIENT_RESET.word)
    assert (scene.record.backend, scene.record.wait, scene.record.total) == (None, 1.0, 1.0)
    assert scene.record.failures == ((ONE, "given up"),)


def test_a_deadline_that_cannot_be_dealt_with_ends_it(make_scene: Carrier) -> None:
    scene = make_scene(settings={"idle_timeout": 2.0})
    client, backend = scene.joined(early=b"question")
    with (
        patch.object(Deadlines, "look", side_effect=LookupError("broken")),
        patch.object(Deadlines, "check", side_effect=LookupError("broken")),
        pytest.raises(AssertionError, match="a deadline could not be dealt with"),
        no_logged_failure(),
    ):
        scene.advance(5.0)
    assert (client.saw, backend.saw, scene.ended) == ("reset", "reset", EndReason.INTERNAL_ERROR.word)


# A dial that goes on when the rest is made


@pytest.mark.parametrize(("finishes_after", "total"), [(1.5, 2.0), (0.5, 2.0)])
def test_a_dial_keeps_its_time(make_scene: Carrier, finishes_after: float, total: float) -> None:
    scene = make_scene({ONE: "hangs"}, connect_timeout=2.0, retries=0)
    scene.advance(100.0)
    client = scene.connect(early=b"question")
    scene.advance(finishes_after)
    client.finish()
    scene.advance(10.0)
    assert scene.ended == EndReason.CONNECT_FAILED.word
    assert scene.record.total == pytest.approx(total, abs=0.1)
    assert scene.record.failures == ((ONE, "timed out after 2 s"),)


def test_a_dial_whose_time_is_over_ends_though_the_loop_is_late(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"}, connect_timeout=2.0, dial_timeout=NEVER, retries=0)
    client = scene.connect(early=b"question")
    scene.advance(1.0)
    scene.network.clock.rightNow += 10.0
    client.finish()
    scene.network.report(ours(client), EPOLLIN | EPOLLRDHUP)
    scene.advance(1.0)
    assert scene.ended == EndReason.CONNECT_FAILED.word


def test_a_dial_fails_after_the_rest_was_made(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs", TWO: "accepts"}, retries=1)
    client = scene.connect(early=b"question")
    scene.run()
    client.finish()
    scene.run()
    scene.backends[ONE].behaviour = "refuses"
    scene.run()
    backend = scene.backends[TWO].connection
    assert (backend.received, backend.saw) == (b"question", "fin")
    backend.send(b"answer")
    backend.finish()
    scene.run()
    record = scene.record
    assert (record.attempts, record.backend, record.failures) == (2, TWO, ((ONE, "refused"),))
    assert (record.client_bytes, record.backend_bytes, client.received) == (8, 6, b"answer")


def test_a_dial_is_given_up_after_the_rest_was_made(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect(early=b"question")
    scene.run()
    client.reset()
    scene.run()
    assert scene.ended == EndReason.CLIENT_RESET.word
    assert (scene.record.attempts, scene.record.failures) == (1, ((ONE, "given up"),))
    assert scene.active == [0]


@pytest.mark.parametrize("early", [b"", b"question"])
def test_a_look_at_a_dial_reads_only_what_has_come(early: bytes) -> None:
    scene = BareScene({ONE: "hangs"}, settings={"idle_timeout": 2.0}, **UNHURRIED)
    client = scene.connect(early=early)
    scene.run()
    limits = reads(ours(client))
    scene.advance(5.0)
    assert len(limits) == bool(early)


# Flow control


@pytest.mark.parametrize("of_client", [True, False])
def test_a_slow_reader_slows_down_the_other_side(make_scene: Carrier, of_client: bool) -> None:
    scene = make_scene()
    scene.joined()
    source, sink = side(scene, of_client)
    sink.stop_reading()
    source.send(bytes(3_000_000))
    scene.run()
    assert scene.kept < 512 * 1024
    assert source.unsent > 1_000_000
    sink.start_reading()
    scene.run()
    assert len(sink.received) == 3_000_000


def test_a_failure_after_the_rest_was_made_gives_everything_back() -> None:
    scene = BareScene({ONE: "hangs"}, connect_timeout=2.0)
    client = scene.connect(early=b"question")
    with (
        patch.object(ConnectAttempt, "check", side_effect=LookupError("broken")),
        pytest.raises(AssertionError, match="a deadline could not be dealt with"),
        no_logged_failure(),
    ):
        scene.advance(5.0)
    assert (client.saw, scene.ended) == ("reset", EndReason.INTERNAL_ERROR.word)
    scene.leave()
    assert scene.leftovers() == []


# Ends in order


@pytest.mark.parametrize("made_whole", [False, True])
@pytest.mark.parametrize("of_client", [True, False])
def test_the_side_that_finishes_first_has_closed(
    make_scene: Carrier, of_client: bool, made_whole: bool
) -> None:
    scene = make_scene()
    scene.joined(early=b"question")
    first, second = side(scene, of_client)
    second.send(b"answer")
    scene.run()
    first.finish()
    scene.run()
    if made_whole:
        second.send(b"another")
        scene.run()
    second.finish()
    scene.run()
    reason = EndReason.CLIENT_CLOSED if of_client else EndReason.BACKEND_CLOSED
    assert (scene.ended, first.saw, second.saw) == (reason.word, "fin", "fin")
    assert scene.record.failures == ()


def test_an_end_without_a_byte_is_no_answer(make_scene: Carrier) -> None:
    scene = make_scene(outlier=OutlierConfig(consecutive_failures=2))
    client, backend = scene.joined(early=b"question")
    with patch.object(Slot, "answered") as answered:
        backend.finish()
        scene.run()
        client.finish()
        scene.run()
    answered.assert_not_called()
    assert scene.ended == EndReason.BACKEND_CLOSED.word


@pytest.mark.parametrize("of_client", [True, False])
def test_what_comes_behind_the_most_that_one_read_takes(make_scene: Carrier, of_client: bool) -> None:
    """No event tells of it."""
    scene = make_scene(network={"send_buffer": 4 * CHUNK, "receive_buffer": 4 * CHUNK})
    scene.joined()
    source, sink = side(scene, of_client)
    source.socket.send(bytes(CHUNK + 1))
    scene.run()
    assert len(sink.received) == CHUNK + 1
