"""Nothing lasts for ever: the deadlines of a session, bytes that nobody fetches, and those that drip."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from support.scene import ONE, RETRY_ON_RESET, TWO
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.peer import Peer

LATE = 3.0
"""Seconds that a deadline may be late: the clock of deadlines is coarse."""

MIB = 1024 * 1024


# idle_timeout


def test_idle(make_scene: Any) -> None:
    scene = make_scene(settings={"idle_timeout": 60})
    client, backend = scene.joined()
    scene.advance(59.9)
    assert scene.records == []
    scene.advance(0.1 + LATE)
    assert scene.ended == "idle_timeout"
    assert scene.record.reason.closer == "balancer"
    assert client.saw == backend.saw == "reset"


@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_byte_either_way_keeps_it_alive(make_scene: Any, who: str) -> None:
    scene = make_scene(settings={"idle_timeout": 10})
    client, backend = scene.joined()
    for _ in range(12):
        (client if who == "client" else backend).send(b"x")
        scene.advance(9.9)
    assert scene.records == []
    scene.advance(LATE)
    assert scene.ended == "idle_timeout"


def test_dialling_is_not_idling(make_scene: Any) -> None:
    scene = make_scene(
        {ONE: "hangs", TWO: "hangs"},
        settings={"idle_timeout": 1},
        connect_timeout=20,
        retries=1,
        dial_timeout=60,
    )
    scene.connect()
    scene.advance(39)
    assert scene.records == []
    scene.advance(1 + LATE)
    assert scene.ended == "connect_failed"


def test_each_session_has_its_own_deadline(make_scene: Any) -> None:
    scene = make_scene(settings={"idle_timeout": 10})
    first, _ = scene.joined()
    scene.advance(8)
    second, _ = scene.joined()
    scene.advance(2 + LATE)
    assert (first.saw, second.saw) == ("reset", "open")
    scene.advance(8)
    assert second.saw == "reset"


# half_close_timeout


def is_told(session: Any, of_client: bool) -> bool:
    """Whether the other side was told that one has finished."""
    if getattr(session, "is_bare", False):
        return bool(session._client_ended if of_client else session._backend_ended)
    return bool((session.backend if of_client else session.client).write_closed)


@pytest.mark.parametrize("who", ["client", "backend"])
def test_one_side_has_finished_and_the_other_is_silent(make_scene: Any, who: str) -> None:
    scene = make_scene(settings={"half_close_timeout": 5})
    client, backend = scene.joined()
    (client if who == "client" else backend).finish()
    scene.advance(4.9)
    assert scene.records == []
    scene.advance(0.1 + LATE)
    assert scene.ended == "half_close_timeout"
    assert scene.record.reason.closer == "balancer"
    finished = client if who == "client" else backend
    assert (finished.saw, finished.complete) == ("reset", False)


@pytest.mark.parametrize("who", ["client", "backend"])
@pytest.mark.parametrize("size", [1000, 80_000])
def test_an_end_that_was_told_stays_one(make_scene: Any, who: str, size: int) -> None:
    """Who was told it has still to fetch the last bytes from the kernels; a reset would lose them."""
    scene = make_scene(settings={"half_close_timeout": 5})
    client, backend = scene.joined()
    finished, other = (client, backend) if who == "client" else (backend, client)
    other.stop_reading()
    finished.send(bytes(size))
    finished.finish()
    scene.run()
    (session,) = scene.frontend.registry.sessions
    assert is_told(session, of_client=who == "client"), "all of it is with the kernels"
    scene.advance(5 + LATE)
    assert (scene.ended, finished.saw) == ("half_close_timeout", "reset")
    other.start_reading()
    scene.run()
    assert (len(other.received), other.saw, other.complete) == (size, "fin", True)


@pytest.mark.parametrize("who", ["client", "backend"])
def test_one_side_has_finished_and_the_other_goes_on(make_scene: Any, who: str) -> None:
    scene = make_scene(settings={"half_close_timeout": 5})
    client, backend = scene.joined()
    finished, other = (client, backend) if who == "client" else (backend, client)
    finished.finish()
    for _ in range(20):
        other.send(b"x")
        scene.advance(4.9)
    other.finish()
    scene.run()
    assert finished.received == b"x" * 20
    assert scene.ended == f"{who}_closed"


def test_a_client_that_finished_early_waits_for_the_dial(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, settings={"half_close_timeout": 5}, connect_timeout=60)
    client = scene.connect(early=b"question")
    client.finish()
    scene.advance(50)
    scene.backends[ONE].behaviour = "accepts"
    scene.advance(4)
    backend = scene.backends[ONE].connection
    assert (backend.received, backend.saw, scene.records) == (b"question", "fin", [])
    scene.advance(1 + LATE)
    assert scene.ended == "half_close_timeout"


@pytest.mark.parametrize("who", ["client", "backend"])
def test_last_bytes_that_nobody_fetches(make_scene: Any, who: str) -> None:
    """Both have finished, one does not read: it has half_close_timeout, and as long again while closing."""
    scene = make_scene(settings={"half_close_timeout": 5})
    client, backend = scene.joined()
    reader, other = (client, backend) if who == "client" else (backend, client)
    reader.stop_reading()
    other.send(bytes(MIB))
    for peer in (reader, other):
        peer.finish()
    scene.advance(4)
    assert scene.records == []
    scene.advance(6 + 2 * LATE)
    assert scene.record.reason.closer == "balancer"
    reader.start_reading()
    scene.run()
    assert (reader.saw, reader.complete) == ("reset", False)


def test_bytes_that_nobody_fetches_after_the_end(make_scene: Any) -> None:
    """What an orderly end still has to deliver is given up after half_close_timeout, with a reset.

    The backend knows no half-close, so that its end ends the session while bytes wait on any data path; a leg
    does not read the end of a stream before the sink has taken all that came before it.
    """
    scene = make_scene(settings={"half_close_timeout": 5}, tls_backends=True)
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(120_000))
    backend.finish()
    scene.run()
    assert scene.decided
    scene.advance(4.9)
    assert scene.records == []
    scene.advance(0.1 + LATE)
    assert client.saw == "reset"
    assert scene.ended == "backend_closed"


# max_connection_age


def test_age(make_scene: Any) -> None:
    scene = make_scene(settings={"max_connection_age": 100})
    client, backend = scene.joined()
    for _ in range(9):
        client.send(b"x")
        backend.send(b"y")
        scene.advance(9.9)
    assert scene.records == []
    scene.advance(21 + LATE)
    assert scene.ended == "max_connection_age"
    assert client.saw == backend.saw == "reset"


def test_ages_differ(make_scene: Any) -> None:
    scene = make_scene(settings={"max_connection_age": 1000})
    for _ in range(20):
        scene.joined()
    scene.advance(1100 + LATE)
    ages = {round(record.total) for record in scene.records}
    assert len(scene.records) == 20
    assert len(ages) > 5
    assert min(ages) >= 900
    assert max(ages) <= 1100 + LATE


def test_ages_lie_a_tenth_to_either_side(make_scene: Any) -> None:
    scene = make_scene(settings={"max_connection_age": 1000})
    ages = [scene.frontend.context.age_limit() for _ in range(1000)]
    assert 900 <= min(ages) < 920
    assert 1080 < max(ages) <= 1100


def test_age_counts_while_dialling(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, settings={"max_connection_age": 10}, connect_timeout=60)
    client = scene.connect()
    scene.advance(11 + LATE)
    assert client.saw == "reset"
    assert (scene.ended, scene.active) == ("max_connection_age", [0])


# min_rate


def drip(scene: Any, peer: Any, seconds: int, size: int = 1, every: int = 5) -> None:
    """Let a few bytes come every few seconds."""
    for _ in range(seconds // every):
        peer.send(bytes(size))
        scene.advance(every)


@pytest.mark.parametrize("who", ["client", "backend"])
def test_bytes_that_drip(make_scene: Any, who: str) -> None:
    scene = make_scene(settings={"min_rate": 10, "half_close_timeout": 600})
    client, backend = scene.joined()
    drip(scene, client if who == "client" else backend, 60)
    scene.advance(LATE)
    assert scene.ended == "too_slow"
    assert scene.record.reason.closer == "balancer"
    assert client.saw == backend.saw == "reset"


def test_not_before_the_minute_is_over(make_scene: Any) -> None:
    scene = make_scene(settings={"min_rate": 10})
    client, _ = scene.joined()
    drip(scene, client, 55)
    scene.advance(4.9)
    assert scene.records == []


@pytest.mark.parametrize(("least", "ends"), [(20, False), (30, True)])
def test_both_directions_count_together(make_scene: Any, least: int, ends: bool) -> None:
    """25 bytes a second, each minute anew."""
    scene = make_scene(settings={"min_rate": least})
    client, backend = scene.joined()
    for _ in range(60):
        client.send(bytes(75))
        backend.send(bytes(50))
        scene.advance(5)
    assert [record.reason.word for record in scene.records] == ["too_slow"] * ends


def test_a_session_that_becomes_slow(make_scene: Any) -> None:
    scene = make_scene(settings={"min_rate": 10})
    client, backend = scene.joined()
    backend.send(bytes(4 * MIB))
    drip(scene, client, 60)
    scene.advance(LATE)
    assert scene.records == []
    drip(scene, client, 60)
    scene.advance(LATE)
    assert scene.ended == "too_slow"


def test_silence_is_not_slow_and_what_follows_it_has_its_minute(make_scene: Any) -> None:
    scene = make_scene(settings={"min_rate": 10})
    client, _ = scene.joined()
    scene.advance(179)
    drip(scene, client, 45)
    assert scene.records == []
    client.send(bytes(1000))
    scene.advance(30)
    assert scene.records == []


def test_silence_is_idle(make_scene: Any) -> None:
    scene = make_scene(settings={"min_rate": 10, "idle_timeout": 100})
    scene.joined()
    scene.advance(100 + LATE)
    assert scene.ended == "idle_timeout"


def test_on_trial_who_is_too_slow_goes_on_and_counts_once(make_scene: Any) -> None:
    scene = make_scene(settings={"min_rate": 10, "dry_run": True})
    client, backend = scene.joined()
    with capturedLogs() as events:
        drip(scene, client, 300)
    assert (scene.records, len(backend.received)) == ([], 60)
    assert scene.frontend.stats.would_limit == {DryRunLimit.MIN_RATE: 1}
    assert [formatEvent(event) for event in events] == [
        "frontend frontend: limits not enforced, because of dry_run (min_rate: 1)"
    ]


def test_on_trial_the_next_backend_is_no_second_chance_to_be_too_slow(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], settings={"min_rate": 10, "dry_run": True}, **RETRY_ON_RESET)
    client = scene.connect()
    drip(scene, client, 70)
    scene.backends[ONE].connection.reset()
    drip(scene, client, 130)
    assert len(scene.backends[TWO].connections) == 1
    assert scene.frontend.stats.would_limit == {DryRunLimit.MIN_RATE: 1}


def test_on_trial_silence_still_ends(make_scene: Any) -> None:
    scene = make_scene(settings={"min_rate": 10, "dry_run": True, "idle_timeout": 100})
    client, _ = scene.joined()
    drip(scene, client, 70)
    scene.advance(100 + LATE)
    assert (scene.ended, scene.frontend.stats.would_limit) == ("idle_timeout", {DryRunLimit.MIN_RATE: 1})


@pytest.mark.parametrize("who", ["client", "backend"])
def test_bytes_that_nobody_takes_are_slow(make_scene: Any, monkeypatch: Any, who: str) -> None:
    """What the kernel holds cannot be told of a memory socket: all that was read, here."""
    scene = make_scene(settings={"min_rate": 10})
    client, backend = scene.joined()
    (session,) = scene.frontend.registry.sessions
    reader, source = (client, session.backend) if who == "client" else (backend, session.client)
    monkeypatch.setattr(Peer, "in_flight", lambda side: 0 if side is source else source.received)
    reader.stop_reading()
    (backend if who == "client" else client).send(bytes(MIB))
    scene.advance(60 + LATE)
    assert scene.ended == "too_slow"


def test_dialling_is_not_slow(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, settings={"min_rate": 10}, connect_timeout=200)
    client = scene.connect(early=b"hello")
    drip(scene, client, 150)
    scene.backends[ONE].behaviour = "accepts"
    drip(scene, client, 55)
    assert scene.records == []
    scene.advance(5 + LATE)
    assert scene.ended == "too_slow"


def test_the_next_backend_has_its_minute(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], settings={"min_rate": 10}, **RETRY_ON_RESET)
    client = scene.connect()
    drip(scene, client, 50)
    scene.backends[ONE].connection.reset()
    drip(scene, client, 55)
    assert scene.records == []
    scene.advance(5 + LATE)
    assert scene.ended == "too_slow"
    assert scene.backends[TWO].connection.saw == "reset"


def test_one_that_is_ending_is_not_slow(make_scene: Any) -> None:
    """The client does not fetch the last bytes, and has half_close_timeout for that."""
    scene = make_scene(settings={"min_rate": 10, "half_close_timeout": 200}, tls_backends=True)
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(120_000))
    backend.finish()
    scene.run()
    assert scene.decided
    scene.advance(150)
    assert scene.records == []
    client.start_reading()
    scene.run()
    assert (len(client.received), scene.ended) == (120_000, "backend_closed")


def test_within_a_bandwidth(make_scene: Any) -> None:
    scene = make_scene(settings={"min_rate": 990, "bandwidth_per_connection": 1000})
    client, backend = scene.joined()
    client.send(bytes(300_000))
    scene.advance(290)
    assert scene.records == []
    assert 280_000 < len(backend.received) < 300_000


# No deadline makes a part look like the whole


@pytest.mark.parametrize("key", ["idle_timeout", "half_close_timeout", "max_connection_age"])
def test_a_deadline_over_a_client_that_has_stopped_reading(make_scene: Any, key: str) -> None:
    """The backend has sent more than was delivered; the client, reading again, must see that."""
    scene = make_scene(settings={key: 10})
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(4 * MIB))
    if key == "half_close_timeout":
        client.finish()
    scene.advance(11 + LATE)
    client.start_reading()
    scene.advance(100)
    assert scene.ended == key
    assert len(client.received) < 4 * MIB
    assert (client.saw, client.complete) == ("reset", False)


@pytest.mark.parametrize("key", ["idle_timeout", "half_close_timeout", "max_connection_age"])
def test_a_deadline_in_the_middle_of_a_stream(make_scene: Any, key: str) -> None:
    """When the deadline is looked at, the backend's next bytes have come in and were not read yet."""
    scene = make_scene(settings={key: 10})
    client, backend = scene.joined()
    backend.send(b"part one, ")
    if key == "half_close_timeout":
        client.finish()
    scene.advance(8)
    scene.network.clock.rightNow += 4 + LATE
    backend.send(b"part two")
    scene.run()
    assert scene.ended == key
    assert (client.saw, client.complete) == ("reset", False)


# A dial


def test_a_dial_whose_only_other_backend_is_full_ends(make_scene: Any) -> None:
    members = [Backend(ONE, max_connections=1), Backend(TWO)]
    scene = make_scene({ONE: "accepts", TWO: "hangs"}, members=members)
    scene.connect()
    scene.run()
    client = scene.connect(early=b"question")
    scene.run()
    scene.pool.set_admin_state(scene.pool.backends[1], AdminState.DRAIN)
    scene.backends[TWO].behaviour = "refuses"
    scene.advance(14)
    assert client.saw == "open"
    scene.advance(3)
    assert client.saw in {"fin", "reset"}
    record = scene.record
    assert (record.reason.word, record.reason.closer, record.cause) == ("dial_timeout", "balancer", "refused")
    assert 15 <= record.total <= 17
    assert (scene.active, scene.pool.retry_budget.taken) == ([1, 0], 0)


def test_all_attempts_together_have_one_deadline(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs", TWO: "hangs"}, retries=1000, connect_timeout=3.0, dial_timeout=7.0)
    client = scene.connect(early=b"question")
    scene.advance(6.5)
    assert client.saw == "open"
    scene.advance(2.5)
    assert (scene.ended, scene.active, scene.network.dialled) == ("dial_timeout", [0, 0], [])
    assert scene.record.cause == "timed out after 3 s"
    assert scene.record.attempts == 3


def test_a_dial_that_has_come_to_its_end_blames_nobody_for_the_attempt_under_way(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs", TWO: "hangs"}, connect_timeout=3.0, dial_timeout=4.0)
    scene.connect(early=b"question")
    scene.advance(5.9)
    assert scene.ended == "dial_timeout"
    assert [backend.cooldown_until > 0 for backend in scene.pool.backends] == [True, False]


def test_the_time_in_the_queue_is_not_that_of_the_dial(make_scene: Any) -> None:
    scene = make_scene(
        {ONE: "accepts", TWO: "hangs"},
        members=[Backend(ONE, max_connections=1), Backend(TWO, max_connections=1)],
        queue=5,
        queue_timeout=60.0,
        connect_timeout=4.0,
        dial_timeout=6.0,
        retries=1000,
    )
    first = scene.connect()
    scene.run()
    slot = scene.pool.take(scene.pool.backends[1], None)
    waiting = scene.connect(early=b"question")
    scene.advance(50)
    assert (waiting.saw, len(scene.pool.queue)) == ("open", 1)
    slot.release()
    scene.advance(3)
    assert (waiting.saw, scene.active) == ("open", [1, 1])
    scene.advance(2)  # its attempt has failed, and it waits again
    assert (waiting.saw, len(scene.pool.queue), scene.active) == ("open", 1, [1, 0])
    assert first.saw == "open"


def test_the_time_of_a_dial_goes_on_after_the_queue(make_scene: Any) -> None:
    scene = make_scene(
        {ONE: "accepts"},
        members=[Backend(ONE, max_connections=1)],
        queue=5,
        queue_timeout=100.0,
        connect_timeout=3.0,
        dial_timeout=3.5,
        retries=1000,
        settings={"half_close_timeout": 600.0},
    )
    held = scene.connect()
    scene.run()
    waiting = scene.connect(early=b"question")
    scene.advance(20)
    scene.backends[ONE].behaviour = "hangs"
    held.reset()
    scene.advance(3.2)  # the first attempt has timed out; the second begins after a pause
    assert waiting.saw == "open"
    scene.advance(2.3)
    assert waiting.saw in {"fin", "reset"}
    assert scene.records[-1].reason.word == "dial_timeout"
    assert 23.5 <= scene.records[-1].total <= 25.5


def test_a_dial_that_is_begun_again_has_the_time_that_was_left(make_scene: Any) -> None:
    scene = make_scene(
        {ONE: "accepts", TWO: "hangs"}, dial_timeout=5.0, connect_timeout=5.0, retries=5, **RETRY_ON_RESET
    )
    client = scene.connect(early=b"question")
    scene.advance(100)
    scene.backends[ONE].connection.reset()
    scene.backends[ONE].behaviour = "hangs"
    scene.advance(4.5)
    assert client.saw == "open"
    scene.advance(3)
    assert client.saw in {"fin", "reset"}
    assert scene.ended == "dial_timeout"
