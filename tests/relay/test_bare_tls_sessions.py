"""What a bare session does itself where its client speaks TLS, and each reason to have the rest made.

Every script is played with sessions that begin bare and with sessions that have all made from the first byte,
and comes out the same.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import chain, repeat
from socket import AF_UNIX, MSG_MORE
from typing import Any
from unittest.mock import Mock, patch

import pytest
from OpenSSL import SSL
from twisted.logger import capturedLogs

from support.memory_peers import BROKEN, OpenSslPeer, Peer
from support.memory_socket import MemorySocket
from support.network import no_logged_failure
from support.pools import described
from support.scene import ONE, RETRY_ON_RESET, TWO, BareScene, Scene, WholeScene
from support.tls_lines import client_context, to_send
from support.tls_scene import TLS
from tcpbalance.net.tls.errors import HandshakeFailed
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.tls_socket import TlsSocket
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.shared_load import NoCapacityError
from tcpbalance.proxy.bare_tls_session import BareTlsSession
from tcpbalance.proxy.reasons import EndReason

Carrier = Callable[..., Scene]

OVERHEAD = 22
"""Bytes that a record of TLS 1.3 has besides its data: RFC 8446, section 5.2."""

SMALL = {"send_buffer": 200, "receive_buffer": 200}
"""Arguments of a network in which the steps of a handshake take several turns."""


@pytest.fixture(params=[BareScene, WholeScene], ids=lambda carrier: carrier.__name__, scope="module")
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """Makes a scene with sessions of one kind."""
    made: Carrier = request.param
    return made


def only_session(scene: Scene) -> Any:
    """Give the one session that is open."""
    (session,) = scene.frontend.registry.sessions
    return session


def ours(peer: Any) -> Any:
    """Give the balancer's end of a connection."""
    return peer.socket.other


def test_it_begins_bare() -> None:
    scene = BareScene(**TLS)
    client, backend = scene.joined(early=b"question")
    session = only_session(scene)
    assert isinstance(session, BareTlsSession)
    assert (session.is_bare, client.established, backend.received) == (True, True, b"question")
    backend.send(b"answer")
    backend.finish()
    scene.run()
    client.finish()
    scene.run()
    assert (session.is_bare, client.received, client.saw) == (True, b"answer", "fin")


def test_what_is_known_of_it_is_the_same_when_all_has_been_made() -> None:
    scene = BareScene(**TLS)
    scene.joined(early=b"question")
    session = only_session(scene)
    before = session.facts()
    session._equip()
    assert before == session.facts()
    assert (before.pool, before.client_bytes, before.state) == (scene.pool.name, 8, "relaying")
    assert before.tls is not None
    assert before.tls.version.startswith("TLSv1.")


def test_before_the_handshake_is_over_it_has_no_pool() -> None:
    scene = BareScene(**TLS)
    scene.connect()
    facts = only_session(scene).facts()
    assert (facts.pool, facts.state, facts.tls) == (None, "preread", None)


def test_a_message_each_way(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    backend.send(b"answer")
    backend.finish()
    scene.run()
    client.finish()
    scene.run()
    assert (backend.received, backend.saw, client.received, client.saw) == (
        b"question",
        "fin",
        b"answer",
        "fin",
    )
    record = scene.record
    assert (record.reason, record.client_bytes, record.backend_bytes) == (EndReason.BACKEND_CLOSED, 8, 6)
    assert record.server_name == "web.example"
    assert record.tls is not None
    assert record.tls.version == "TLSv1.3"


def test_a_client_that_ends_first(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    client.finish()
    scene.run()
    assert backend.saw == "fin"
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (scene.ended, client.received, client.saw) == ("client_closed", b"answer", "fin")


def test_a_message_with_the_end_behind_it(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined()
    client.send(b"question")
    client.finish()
    client.step()
    scene.run()
    assert (backend.received, backend.saw, scene.records) == (b"question", "fin", [])
    backend.finish()
    scene.run()
    assert (scene.ended, client.saw) == ("client_closed", "fin")


@pytest.mark.parametrize("early", [b"", b"question"])
def test_the_time_of_the_handshake_is_waited(make_scene: Carrier, early: bytes) -> None:
    scene = make_scene({ONE: "hangs"}, **TLS)
    scene.advance(100.0)
    client = scene.connect(early=early)
    client.stop_reading()
    scene.advance(2.0)
    client.start_reading()
    scene.run()
    scene.advance(1.0)
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    client.finish()
    scene.backends[ONE].connection.finish()
    scene.run()
    record = scene.record
    assert (record.wait, record.connect, record.total) == (2.0, 1.0, 3.0)
    assert (record.client_bytes, record.attempts) == (len(early), 1)


def test_the_header_says_what_tls_has_agreed_on(make_scene: Carrier) -> None:
    scene = make_scene(send_proxy_protocol="v2", **TLS)
    _, backend = scene.joined()
    assert b"web.example" in backend.received
    assert b"TLSv1.3" in backend.received


# What travels together


def more_flags(peer: Any) -> list[int]:
    """Note for each send to a peer whether more is to come in the same segment."""
    sock = ours(peer)
    flags: list[int] = []
    send = sock.send

    def noting(data: bytes, how: int = 0) -> int:
        flags.append(how & MSG_MORE)
        return int(send(data, how))

    sock.send = noting
    return flags


@pytest.mark.parametrize(("early", "expected"), [(b"question", [0, MSG_MORE]), (b"", [0, 0])])
def test_tickets_travel_with_the_answer_to_a_request_that_is_here(
    make_scene: Carrier, early: bytes, expected: list[int]
) -> None:
    scene = make_scene(**TLS)
    client = scene.connect(early=early)
    flags = more_flags(client)
    scene.run()
    assert flags == expected
    scene.backends[ONE].connection.send(b"answer")
    scene.run()
    assert (client.received, flags) == (b"answer", [*expected, 0])


def test_the_last_step_of_tls_1_2_is_not_held_back(make_scene: Carrier) -> None:
    """It is more than tickets: a client waits for it."""

    class Older(OpenSslPeer):
        context = client_context(version=SSL.TLS1_2_VERSION)

    scene = make_scene(**{**TLS, "program": Older})
    client = scene.connect(early=b"question")
    flags = more_flags(client)
    scene.run()
    assert (client.established, any(flags), scene.backends[ONE].connection.received) == (
        True,
        False,
        b"question",
    )


def test_an_answer_and_the_ends_behind_it_go_in_one_segment(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    flags = more_flags(client)
    backend.send(b"answer")
    backend.finish()
    backend.step()
    scene.run()
    assert (client.received, client.saw, flags) == (b"answer", "fin", [MSG_MORE, MSG_MORE])


def test_a_last_close_notify_goes_with_the_end_behind_it(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    client.finish()
    scene.run()
    flags = more_flags(client)
    backend.finish()
    scene.run()
    assert (client.saw, flags) == ("fin", [MSG_MORE])


# The handshake


def in_the_handshake(scene: Scene, **how: Any) -> Any:
    """Let a client come that has said its first words, and hears nothing of the answer."""
    client = scene.connect(**how)
    client.stop_reading()
    scene.run()
    assert not client.established
    return client


def test_a_client_that_does_not_speak_tls(make_scene: Carrier) -> None:
    scene = make_scene(preread=TLS["preread"])
    client = scene.connect(early=b"GET / HTTP/1.1\r\n\r\n")
    scene.run()
    assert (scene.ended, scene.record.cause) == ("handshake_failed", "http request")
    assert (client.saw, scene.record.client_bytes, scene.record.attempts) == ("fin", 0, 0)


@pytest.mark.parametrize("how", ["reset", "finish"])
@pytest.mark.parametrize("begun", [True, False])
def test_a_client_that_leaves(make_scene: Carrier, how: str, begun: bool) -> None:
    scene = make_scene(**TLS) if begun else make_scene(preread=TLS["preread"])
    client = in_the_handshake(scene) if begun else scene.connect()
    scene.run()
    getattr(client, how)()
    scene.run()
    assert scene.ended == ("client_reset" if how == "reset" else "client_closed")
    assert (scene.record.tls, scene.record.backend) == (None, None)


@pytest.mark.parametrize("begun", [True, False])
def test_a_client_that_takes_too_long(make_scene: Carrier, begun: bool) -> None:
    scene = make_scene(**TLS) if begun else make_scene(preread=TLS["preread"])
    scene.advance(100.0)
    client = in_the_handshake(scene) if begun else scene.connect()
    scene.advance(4.9)
    assert scene.records == []
    scene.advance(0.3 + RESOLUTION)
    assert scene.ended == "preread_timeout"
    client.start_reading()
    client.step()
    assert client.complete or begun


def test_a_client_that_takes_little_at_a_time(make_scene: Carrier) -> None:
    """The answer waits for space, and is finished once there is some."""
    scene = make_scene(network=SMALL, **TLS)
    client = scene.connect(early=b"question")
    client.stop_reading()
    scene.run()
    client.start_reading()
    scene.run()
    backend = scene.backends[ONE].connection
    backend.send(b"answer")
    scene.run()
    assert (backend.received, client.received) == (b"question", b"answer")


def test_reads_of_a_unix_client_that_stop_short() -> None:
    """As where a message with descriptors ends, of which no event comes: unix(7)."""
    scene = BareScene(**TLS)
    receive = MemorySocket.recv_into

    def receive_some(sock: MemorySocket, buffer: memoryview) -> int:
        return receive(sock, buffer[:200])

    with patch.object(TlsSocket, "family", AF_UNIX), patch.object(MemorySocket, "recv_into", receive_some):
        client = scene.connect(early=b"question")
        scene.run()
    assert (client.established, scene.backends[ONE].connection.received) == (True, b"question")


@pytest.mark.parametrize("early", [b"", b"question"])
def test_a_client_that_does_not_read_what_ends_the_handshake(make_scene: Carrier, early: bytes) -> None:
    """The tickets wait for space, and so does what the backend says."""
    scene = make_scene(network={"send_buffer": 1500, "receive_buffer": 1500}, **TLS)
    client = scene.connect(early=early)
    while not client.established:
        scene.network.step()
    client.stop_reading()
    outgoing = ours(client).outgoing
    outgoing.receive_limit = len(outgoing.unread)
    outgoing.send_limit = 1
    scene.run()
    backend = scene.backends[ONE].connection
    backend.send(b"answer")
    scene.run()
    outgoing.receive_limit = outgoing.send_limit = 1500
    client.start_reading()
    scene.run()
    assert (backend.received, client.received) == (early, b"answer")


def test_the_operator_ends_it(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    in_the_handshake(scene)
    scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)
    assert (scene.ended, scene.record.attempts) == ("shutdown", 0)


def test_nothing_is_moved_or_served(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    in_the_handshake(scene)
    session = only_session(scene)
    assert (session.can_move(0.0), session.served_by, session.cause) == (False, None, "")


def test_a_reactor_that_is_torn_down(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client = in_the_handshake(scene)
    scene.network.tear_down()
    assert (client.saw, scene.ended) == ("reset", "client_reset")
    assert (scene.record.tls, scene.record.failures) == (None, ())


def test_what_has_expired_since(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    error = HandshakeFailed("certificate expired")
    with (
        patch("tcpbalance.proxy.bare_tls_session.facts_of", side_effect=error),
        patch("tcpbalance.proxy.preread.facts_of", side_effect=error),
    ):
        scene.connect(early=b"question")
        scene.run()
    assert (scene.ended, scene.record.cause) == ("handshake_failed", "certificate expired")
    assert (scene.record.server_name, scene.record.attempts) == ("web.example", 0)


def test_a_pool_that_needs_more_by_then(make_scene: Carrier) -> None:
    """It is tried again elsewhere, with what the client has sent."""
    scene = make_scene({ONE: "resets_at_once", TWO: "accepts"}, **TLS)
    client = in_the_handshake(scene, early=b"question")
    scene.pool.prepare_as(described([ONE, TWO], "pool", **RETRY_ON_RESET))()
    client.start_reading()
    scene.run()
    backend = scene.backends[TWO].connection
    backend.send(b"answer")
    scene.run()
    assert (backend.received, client.received) == (b"question", b"answer")


def test_no_backend(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "refuses"}, retries=0, **TLS)
    client = scene.connect(early=b"question")
    scene.run()
    assert (scene.ended, client.saw, scene.record.client_bytes) == ("connect_failed", "fin", 8)


def test_one_that_cannot_begin(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    with (
        patch.object(ServerTls, "connection", side_effect=MemoryError),
        pytest.raises(AssertionError, match="a session could not go on"),
        no_logged_failure(),
    ):
        scene.connect(early=b"question")
    scene.run()
    assert (scene.ended, scene.clients[0].saw) == (EndReason.INTERNAL_ERROR.word, "reset")


@pytest.mark.parametrize("what", ["ClientConnection", "Preread"])
def test_one_that_cannot_make_what_a_session_has_leaves_nothing_behind(what: str) -> None:
    scene = BareScene(**TLS)
    client = in_the_handshake(scene)
    module = "bare_session" if what == "ClientConnection" else "bare_tls_session"
    with patch(f"tcpbalance.proxy.{module}.{what}", side_effect=MemoryError), capturedLogs():
        client.finish()
        scene.run()
    assert (client.saw, scene.ended) == ("reset", "internal_error")
    scene.leave()
    assert scene.leftovers() == []


# What does not fit


def test_an_answer_that_waits_for_space(make_scene: Carrier) -> None:
    scene = make_scene(network={"send_buffer": 4000, "receive_buffer": 4000}, **TLS)
    client, backend = scene.joined(early=b"question")
    client.stop_reading()
    backend.send(bytes(15_000))
    scene.run()
    client.start_reading()
    scene.run()
    assert len(client.received) == 15_000
    backend.finish()
    scene.run()
    client.finish()
    scene.run()
    assert scene.ended == "backend_closed"


@pytest.mark.parametrize("size", [1000 - OVERHEAD - 10, 1000 - OVERHEAD, 3000])
def test_a_last_answer_that_waits_for_space_to_a_client_that_has_finished(
    make_scene: Carrier, size: int
) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    client.finish()
    scene.run()
    client.stop_reading()
    outgoing = ours(client).outgoing
    outgoing.send_limit = outgoing.receive_limit = 500
    backend.send(bytes(size))
    backend.finish()
    backend.step()
    scene.run()
    client.start_reading()
    scene.run()
    assert (len(client.received), scene.ended) == (size, "client_closed")


@pytest.mark.parametrize("size", [1000 - OVERHEAD - 10, 1000 - OVERHEAD, 3000])
def test_a_close_notify_that_waits_for_space(make_scene: Carrier, size: int) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    client.stop_reading()
    outgoing = ours(client).outgoing
    outgoing.send_limit = outgoing.receive_limit = 500
    backend.send(bytes(size))
    backend.finish()
    backend.step()
    scene.run()
    assert client.saw == "open"
    client.start_reading()
    scene.run()
    assert (len(client.received), client.saw) == (size, "fin")
    client.finish()
    scene.run()
    assert scene.ended == "backend_closed"


@pytest.mark.parametrize(
    ("code", "ended", "saw"),
    [(errno.ECONNRESET, "client_reset", "reset"), (errno.EPIPE, "backend_closed", "fin")],
)
def test_a_close_notify_that_fails(make_scene: Carrier, code: int, ended: str, saw: str) -> None:
    """As to a client that has reset the connection, of which no event has come; see ``ended_in_order``."""
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    sock = ours(client)
    sock.send = Mock(side_effect=OSError(code, os.strerror(code)))
    backend.finish()
    scene.run()
    client.reset()
    scene.run()
    assert (scene.ended, backend.saw) == (ended, saw)


def test_an_end_that_fails_behind_the_close_notify(make_scene: Carrier) -> None:
    """The client has said its own, and has broken off then: it has everything."""
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    sock, shutdown = ours(client), MemorySocket.shutdown
    client.finish()
    client.step()

    def fails(how: int) -> None:
        client.reset()
        shutdown(sock, how)

    sock.shutdown = fails
    backend.finish()
    backend.step()
    scene.run()
    assert scene.ended in {"backend_closed", "client_closed"}


def test_a_record_in_two_pieces(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined()
    client.tls.send(b"question")
    record = client.tls.bio_read(1 << 16)
    client.socket.send(record[:7])
    scene.run()
    assert backend.received == b""
    session = only_session(scene)
    scene.advance(5.0)
    assert not session.can_move(1.0)
    client.socket.send(record[7:])
    scene.run()
    assert backend.received == b"question"


def test_one_that_is_idle_may_move(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined(early=b"question")
    backend.send(b"answer")
    scene.run()
    scene.advance(5.0)
    session = only_session(scene)
    assert session.can_move(1.0)
    client.send(b"question")
    client.step()
    assert not session.can_move(1.0)


def test_records_without_data_are_passed_over(make_scene: Carrier) -> None:
    """More comes behind them in the same read."""
    scene = make_scene(**TLS)
    client, backend = scene.joined()
    for word in (b"one", b"two", b"three"):
        client.tls.send(word)
    client.socket.send(client.tls.bio_read(1 << 16))
    scene.run()
    assert backend.received == b"onetwothree"


def test_a_broken_record(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    client, backend = scene.joined()
    client.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    scene.run()
    assert (scene.ended, backend.saw) == ("client_reset", "reset")
    assert scene.record.cause.startswith("TLS: ")


def test_a_message_that_comes_during_the_dial(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"}, **TLS)
    client = scene.connect(early=b"one")
    scene.run()
    client.send(b"two")
    scene.run()
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert scene.backends[ONE].connection.received == b"onetwo"


def test_a_request_that_comes_during_the_dial_leaves_it_bare() -> None:
    scene = BareScene({ONE: "hangs"}, **TLS)
    client = scene.connect()
    scene.run()
    client.send(b"question")
    scene.run()
    session = only_session(scene)
    assert (session.is_bare, session.buffered) == (True, len(b"question"))
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    assert (session.is_bare, backend.received) == (True, b"question")
    backend.send(b"answer")
    scene.run()
    assert (session.is_bare, client.received) == (True, b"answer")


def test_a_reset_that_is_read_during_the_dial(make_scene: Carrier) -> None:
    """The kernel reports it to one read, and shows an end to those that follow."""
    scene = make_scene({ONE: "hangs"}, **TLS)
    client = scene.connect()
    scene.run()
    client.send(b"question")
    reset = OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    with patch.object(MemorySocket, "recv_into", side_effect=chain([reset], repeat(0))):
        scene.advance(2.0)
    assert scene.ended == "client_reset"


def test_nothing_is_left_in_the_queue_of_openssl(make_scene: Carrier) -> None:
    scene = make_scene(**TLS)
    scene.connect(program=Peer, early=b"\x16\x03\x01\x00\x04no\0\0")
    scene.run()
    assert scene.ended == "handshake_failed"
    client = scene.connect()
    scene.run()
    assert client.established


def test_a_connection_that_does_not_matter_any_more_is_freed() -> None:
    scene = BareScene(**TLS)
    client, backend = scene.joined(early=b"question")
    sock = only_session(scene)._tls
    assert isinstance(sock, TlsSocket)
    backend.finish()
    scene.run()
    client.finish()
    scene.run()
    assert scene.ended == "backend_closed"
    assert (sock.has_said_all, sock.close_notify_received) == (True, True)


# What comes behind the handshake and is no request


class BreakingPeer(OpenSslPeer):
    """Sends a broken record with the last step of its handshake."""

    def _last_step(self) -> None:
        super()._last_step()
        self._unsent += BROKEN


BREAKING: dict[str, Any] = {**TLS, "program": BreakingPeer}


@pytest.mark.parametrize("behaviour", ["refuses", "lacks_buffers", "accepts"])
def test_a_broken_record_behind_the_handshake(make_scene: Carrier, behaviour: str) -> None:
    """The dial that is under way, or has failed by then, is dealt with in its own turn."""
    scene = make_scene({ONE: behaviour, TWO: "accepts"}, **BREAKING)
    with no_logged_failure():
        scene.connect()
        scene.run()
    assert (scene.ended, scene.record.client_bytes) == ("client_reset", 0)
    assert scene.record.cause.startswith("TLS: ")
    scene.leave()
    assert scene.leftovers() == []


@pytest.mark.parametrize(("backends", "settings"), [((ONE, TWO), {}), ((ONE,), {"queue": 2})])
def test_a_broken_record_where_another_process_was_quicker(
    make_scene: Carrier, backends: tuple[str, ...], settings: dict[str, Any]
) -> None:
    scene = make_scene(backends, **BREAKING, **settings)
    take, refused = Pool.take, iter([True])

    def refuses_once(pool: Pool, *args: Any) -> Any:
        if next(refused, False):
            raise NoCapacityError("full")
        return take(pool, *args)

    with patch.object(Pool, "take", refuses_once), no_logged_failure():
        scene.connect()
        scene.run()
    assert scene.ended == "client_reset"
    scene.leave()
    assert scene.leftovers() == []


class ClosingPeer(OpenSslPeer):
    """Says close_notify with the last step of its handshake, and does not end the stream behind it."""

    def _last_step(self) -> None:
        super()._last_step()
        self.tls.shutdown()


class HalvingPeer(OpenSslPeer):
    """Sends the first half of a record with the last step of its handshake.

    :ivar rest: the second.
    """

    def _last_step(self) -> None:
        super()._last_step()
        self.tls.send(b"question")
        record = b"".join(to_send(self.tls))
        self._unsent += record[:20]
        self.rest = record[20:]


@pytest.mark.parametrize(
    ("question", "what"),
    [
        (b"", "close_notify"),
        (b"", "broken record"),
        (b"", "fatal alert"),
        (b"question", "broken record"),
        (b"question", "fatal alert"),
    ],
)
def test_a_client_that_ends_tls_during_the_dial(make_scene: Carrier, question: bytes, what: str) -> None:
    """That is noticed at once, and is not the backend's fault."""
    scene = make_scene({ONE: "hangs"}, **TLS)
    client = scene.connect()
    scene.run()
    if question:
        client.send(question)
        scene.run()
    if what == "close_notify":
        client.say_close_notify()
    elif what == "broken record":
        client.break_record()
    else:
        client.tls.bio_write(BROKEN)
        with pytest.raises(SSL.Error):
            client.tls.recv(1)
        client.socket.send(b"".join(to_send(client.tls)))
    scene.advance(2.0)
    assert scene.ended == ("client_closed" if what == "close_notify" else "client_reset")
    assert scene.record.failures == ((ONE, "given up"),)


def test_a_client_that_has_asked_and_says_close_notify_during_the_dial_gets_an_answer(
    make_scene: Carrier,
) -> None:
    scene = make_scene({ONE: "hangs"}, **TLS)
    client = scene.connect()
    scene.run()
    client.send(b"question")
    scene.run()
    client.say_close_notify()
    scene.run()
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    assert (backend.received, backend.saw) == (b"question", "fin")
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (client.received, scene.ended) == (b"answer", "client_closed")


def test_a_client_that_ends_tls_with_its_handshake(make_scene: Carrier) -> None:
    scene = make_scene({ONE: "hangs"}, **{**TLS, "program": ClosingPeer})
    scene.connect()
    scene.advance(2.0)
    assert (scene.ended, scene.record.failures) == ("client_closed", ((ONE, "given up"),))


def test_half_a_request_holds_nothing_back(make_scene: Carrier) -> None:
    """Neither the tickets nor the PROXY header wait for the rest."""
    scene = make_scene(send_proxy_protocol="v1", **{**TLS, "program": HalvingPeer})
    client = scene.connect()
    flags = more_flags(client)
    scene.run()
    backend = scene.backends[ONE].connection
    assert (flags, backend.received[:5], backend.received[-2:]) == ([0, 0], b"PROXY", b"\r\n")
    client.socket.send(client.rest)
    scene.run()
    assert backend.received.endswith(b"question")


def test_what_has_come_behind_the_handshake_is_counted_while_it_dials() -> None:
    scene = BareScene({ONE: "hangs"}, **TLS)
    scene.connect(early=bytes(1000))
    scene.run()
    session = only_session(scene)
    assert session.is_bare
    assert session.buffered >= 1000 + OVERHEAD
