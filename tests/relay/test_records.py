"""What is known of a session once it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

from support.scene import ONE, RETRY_ON_RESET, THREE, TWO
from tcpbalance.net.socket_connector import DIAL_RESOLUTION
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord


def test_a_whole_account(make_scene: Any) -> None:
    scene = make_scene(
        {ONE: "hangs", TWO: "refuses", THREE: "hangs"},
        members=[Backend(ONE), Backend(TWO), Backend(THREE, name="the third")],
    )
    scene.advance(100)
    client = scene.connect(early=b"12345")
    scene.advance(3)
    scene.advance(0.5)
    scene.backends[THREE].behaviour = "accepts"
    scene.run()
    client.send(b"67")
    backend = scene.backends[THREE].connection
    backend.send(b"answer")
    scene.advance(1.5)
    client.finish()
    scene.run()
    backend.finish()
    scene.run()
    assert scene.record == SessionRecord(
        started=100.0,
        client="198.51.100.7:40000",
        frontend="frontend",
        backend="the third",
        attempts=3,
        wait=about(3.0),
        connect=about(0.5),
        total=5.0,
        client_bytes=7,
        backend_bytes=6,
        reason=EndReason.CLIENT_CLOSED,
        cause="refused",
        failures=((ONE, "timed out after 3 s"), (TWO, "refused")),
    )


def about(seconds: float) -> Any:
    """The wheel of dials is coarse, and each of three attempts may be late by a turn of it."""
    return pytest.approx(seconds, abs=4 * DIAL_RESOLUTION)


def test_nobody_accepted(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs", TWO: "hangs"}, connect_timeout=2, retries=1)
    client = scene.connect(early=b"12345")
    scene.advance(10)
    assert client.saw in {"fin", "reset"}
    record = scene.record
    assert (record.backend, record.connect, record.attempts, record.cause) == (
        None,
        None,
        2,
        "timed out after 2 s",
    )
    assert (record.wait, record.total) == (about(4.0), about(4.0))
    assert (record.client_bytes, record.backend_bytes) == (5, 0)


def test_no_dial_at_all(make_scene: Any) -> None:
    scene = make_scene()
    scene.pool.mark_down(scene.pool.backends[0], "status 503")
    scene.connect()
    scene.run()
    record = scene.record
    assert (record.backend, record.connect, record.attempts, record.cause) == (None, None, 0, "")


def test_bytes_are_counted_once_when_they_are_sent_again(make_scene: Any) -> None:
    scene = make_scene({ONE: "resets_at_once", TWO: "accepts"}, **RETRY_ON_RESET)
    client = scene.connect(early=b"12345")
    scene.run()
    backend = scene.backends[TWO].connection
    backend.send(b"123")
    for peer in (client, backend):
        peer.finish()
    scene.run()
    assert (scene.record.client_bytes, scene.record.backend_bytes) == (5, 3)
    assert (scene.record.attempts, scene.record.backend, scene.record.cause) == (2, TWO, "reset")


def test_much_traffic_is_counted(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(bytes(3_000_000))
    backend.send(bytes(5_000_000))
    client.finish()
    backend.finish()
    scene.run()
    assert (scene.record.client_bytes, scene.record.backend_bytes) == (3_000_000, 5_000_000)


def test_what_was_received_counts_even_when_it_was_not_delivered(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(30_000))
    scene.run()
    client.reset()
    scene.run()
    backend.send(b"x")
    scene.run()
    assert scene.record.backend_bytes == 30_000


def test_addresses_of_every_kind(make_scene: Any) -> None:
    scene = make_scene()
    for address in (
        IPv6Address("TCP", "2001:db8::1", 5000),
        UNIXAddress(b"/run/app.sock"),
        UNIXAddress(None),
    ):
        scene.connect(address=address).reset()
        scene.run()
    assert [record.client for record in scene.records] == [
        "[2001:db8::1]:5000",
        "unix:/run/app.sock",
        "unix:",
    ]


def test_reasons_are_counted(make_scene: Any) -> None:
    scene = make_scene()
    for _ in range(3):
        scene.connect()
        scene.run()
        scene.clients[-1].reset()
        scene.run()
    assert scene.frontend.stats.ended == {EndReason.CLIENT_RESET: 3}


def warnings(events: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]


def test_the_log_tells_of_clients_that_no_backend_was_left_for(make_scene: Any) -> None:
    scene = make_scene()
    scene.pool.mark_down(scene.pool.backends[0], "status 503")
    with capturedLogs() as events:
        for _ in range(500):
            scene.connect()
            scene.run()
        scene.advance(1)
        scene.connect()
        scene.run()
        scene.frontend.stopFactory()
    meaning = EndReason.NO_BACKEND.meaning
    assert warnings(events) == [
        f"frontend frontend: clients not served: {clients} (no_backend: {meaning})" for clients in (1, 499, 1)
    ]


def test_the_log_tells_of_clients_that_could_not_be_connected(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses"}, retries=0)
    with capturedLogs() as events:
        scene.connect()
        scene.run()
    meaning = EndReason.CONNECT_FAILED.meaning
    assert [line for line in warnings(events) if line.startswith("frontend")] == [
        f"frontend frontend: clients not served: 1 (connect_failed: {meaning}, the last: refused)"
    ]


def test_all_attempts_are_listed(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs", TWO: "refuses", THREE: "accepts"})
    client = scene.connect(early=b"question")
    scene.advance(4)
    client.reset()
    scene.run()
    record = scene.record
    assert record.failures == ((ONE, "timed out after 3 s"), (TWO, "refused"))
    assert (record.backend, record.attempts, record.succeeded) == (THREE, 3, True)


def test_an_attempt_that_is_given_up_is_listed_as_such(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "hangs"})
    client = scene.connect(early=b"question")
    scene.run()
    client.reset()
    scene.run()
    record = scene.record
    assert record.failures == ((ONE, "refused"), (TWO, "given up"))
    assert (record.backend, record.cause, record.succeeded) == (None, "refused", False)


def test_backends_that_break_off_are_listed_once_each(make_scene: Any) -> None:
    scene = make_scene({ONE: "resets_at_once", TWO: "resets_at_once"}, retries=1, **RETRY_ON_RESET)
    scene.connect(early=b"question")
    scene.run()
    assert scene.record.failures == ((ONE, "reset"), (TWO, "reset"))
    assert not scene.record.succeeded


def test_a_session_without_a_failure_lists_none(make_scene: Any) -> None:
    scene = make_scene()
    scene.joined()[0].reset()
    scene.run()
    assert (scene.record.failures, scene.record.succeeded) == ((), True)


def test_a_session_that_waits_lists_no_attempt(make_scene: Any) -> None:
    scene = make_scene([ONE], members=[Backend(ONE, max_connections=1)], queue=1)
    scene.connect()
    scene.connect().reset()
    scene.run()
    assert (scene.record.attempts, scene.record.failures) == (0, ())
