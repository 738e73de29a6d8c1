"""Bytes come no faster than they may, each way by itself; nothing else about a session is different."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from support.scene import ONE, RETRY_ON_RESET, TWO
from tcpbalance.admission.gcra import TOLERANCE
from tcpbalance.proxy.bandwidth_limiter import READS_A_SECOND
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.reasons import EndReason

RATE = 20_000
PIECE = RATE // READS_A_SECOND
"""Bytes a second, and at once."""

SIDES = ["client", "backend"]
BOUND = 512 * 1024


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def limited(make_scene: Any, backends: Any = (ONE,), rate: int = RATE, **more: Any) -> Any:
    settings = {"bandwidth_per_connection": rate, **more.pop("settings", {})}
    return make_scene(backends, settings=settings, **more)


def sides(scene: Any, sends: str, **how: Any) -> tuple[Any, Any]:
    """A sender and a reader, joined."""
    client, backend = scene.joined(**how)
    return (client, backend) if sends == "client" else (backend, client)


def most(seconds: float, rate: int = RATE, read: int = PIECE) -> float:
    return rate * (seconds + TOLERANCE) + read


@pytest.mark.parametrize("sends", SIDES)
def test_a_transfer_takes_its_time(make_scene: Any, sends: str) -> None:
    scene = limited(make_scene)
    sender, reader = sides(scene, sends)
    data = noise(11 * RATE)
    sender.send(data)
    for second in range(10):
        scene.run()
        assert 0.95 * second * RATE <= len(reader.received) <= most(second)
        scene.advance(1)
    scene.advance(1.5)
    assert reader.received == data
    assert (scene.kept, scene.records) == (0, [])


@pytest.mark.parametrize("sends", SIDES)
def test_it_goes_in_small_steps(make_scene: Any, sends: str) -> None:
    scene = limited(make_scene)
    sender, reader = sides(scene, sends)
    sender.send(noise(3 * RATE))
    scene.advance(1)
    for _ in range(10):
        before = len(reader.received)
        scene.advance(0.2)
        assert len(reader.received) - before <= 3 * PIECE


@pytest.mark.parametrize("sends", SIDES)
@pytest.mark.parametrize("rate", [10, 100, 700, 1500, 3000, RATE])
def test_each_second_has_as_many_bytes_as_the_next(make_scene: Any, rate: int, sends: str) -> None:
    scene = limited(make_scene, rate=rate)
    sender, reader = sides(scene, sends)
    sender.send(noise(20 * rate))
    scene.advance(2)  # what may come early has come
    seconds = []
    for _ in range(10):
        before = len(reader.received)
        scene.advance(1)
        seconds.append(len(reader.received) - before)
    piece = max(1, rate // READS_A_SECOND)
    assert all(abs(count - rate) <= 2 * piece for count in seconds), seconds
    assert abs(sum(seconds) - 10 * rate) <= 2 * piece


@pytest.mark.parametrize("sends", SIDES)
def test_the_lowest_rate_of_all_is_a_byte_a_second(make_scene: Any, sends: str) -> None:
    scene = limited(make_scene, rate=1)
    sender, reader = sides(scene, sends)
    sender.send(noise(50))
    scene.run()
    came = [len(reader.received)]
    for _ in range(10):
        scene.advance(1)
        came.append(len(reader.received))
    assert [after - before for before, after in pairwise(came)] == [1] * 10


def test_each_way_by_itself(make_scene: Any) -> None:
    scene = limited(make_scene)
    client, backend = scene.joined()
    client.send(noise(10 * RATE))
    scene.advance(2)
    backend.send(noise(10 * RATE + 1))
    scene.advance(4)
    assert 0.95 * 6 * RATE <= len(backend.received) <= most(6)
    assert 0.95 * 4 * RATE <= len(client.received) <= most(4)
    scene.advance(7)
    assert (backend.received, client.received) == (noise(10 * RATE), noise(10 * RATE + 1))


def test_each_connection_by_itself(make_scene: Any) -> None:
    scene = limited(make_scene)
    pairs = [scene.joined() for _ in range(3)]
    for client, _ in pairs:
        client.send(noise(5 * RATE))
    scene.advance(4)
    for _, backend in pairs:
        assert 0.95 * 4 * RATE <= len(backend.received) <= most(4)


def test_a_message_within_the_tolerance_is_not_delayed(make_scene: Any) -> None:
    scene = limited(make_scene)
    client, backend = scene.joined()
    for number in range(20):
        client.send(b"question %d" % number)
        scene.run()
        backend.send(bytes(RATE // 5))
        scene.run()
        assert len(client.received) == (number + 1) * (RATE // 5)
        scene.advance(0.25)
    assert scene.records == []


@pytest.mark.parametrize(("tls", "tls_backends"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("sends", SIDES)
def test_records_of_tls_are_paid_back(make_scene: Any, sends: str, tls: bool, tls_backends: bool) -> None:
    scene = limited(make_scene, tls_backends=tls_backends)
    sender, reader = sides(scene, sends, tls=tls)
    data = noise(11 * RATE)
    sender.send(data)
    for second in range(6):
        scene.run()
        assert len(reader.received) <= most(second, read=2**14)
        scene.advance(1)
    assert len(reader.received) >= 0.8 * 6 * RATE
    scene.advance(7)
    assert reader.received == data


# Ends


@pytest.mark.parametrize("sends", SIDES)
def test_the_end_comes_behind_the_last_byte(make_scene: Any, sends: str) -> None:
    scene = limited(make_scene)
    sender, reader = sides(scene, sends)
    sender.send(noise(3 * RATE))
    sender.finish()
    scene.advance(2)
    assert (reader.saw, scene.records) == ("open", [])
    scene.advance(2)
    assert (reader.received, reader.saw) == (noise(3 * RATE), "fin")
    reader.send(b"answer")
    reader.finish()
    scene.run()
    assert (sender.received, sender.saw) == (b"answer", "fin")
    assert scene.ended == f"{sends}_closed"


@pytest.mark.parametrize("sends", SIDES)
def test_what_was_read_is_not_kept_for_the_end_to_travel_with(make_scene: Any, sends: str) -> None:
    """The end is in sight, and yet far off."""
    scene = limited(make_scene)
    sender, reader = sides(scene, sends)
    sender.send(noise(3 * RATE))
    sender.finish()
    (session,) = scene.frontend.registry.sessions
    for _ in range(20):
        scene.advance(0.1)
        assert len(reader.received) == getattr(session, sends).received


@pytest.mark.parametrize("sends", SIDES)
@pytest.mark.parametrize("breaks", SIDES)
def test_a_reset_stays_a_reset(make_scene: Any, sends: str, breaks: str) -> None:
    scene = limited(make_scene, retries=0)
    sender, reader = sides(scene, sends)
    sender.send(noise(3 * RATE))
    scene.advance(1)
    broken, other = (sender, reader) if breaks == sends else (reader, sender)
    broken.reset()
    # What came before goes on at its rate, and then the reset.
    scene.advance(4)
    assert other.saw == "reset"
    assert scene.ended == f"{breaks}_reset"


def test_a_client_that_is_read_only_to_hear_of_its_end_is_read_again_after_each_wait(make_scene: Any) -> None:
    """Its backend took no more when it broke off; what that had sent before is still on its way."""
    rate = 1_000_000
    scene = limited(make_scene, rate=rate)
    client, backend = scene.joined()
    backend.send(b"hello")
    scene.run()
    for peer in (client, backend):
        peer.stop_reading()
    client.send(noise(10 * rate))
    backend.send(noise(10 * rate))
    scene.advance(5)
    backend.reset()
    scene.advance(1)
    assert scene.records == []
    client.reset()
    scene.advance(2)
    assert (scene.ended, scene.active) == ("backend_reset", [0])


def test_it_is_told_to_end(make_scene: Any) -> None:
    scene = limited(make_scene)
    client, backend = scene.joined()
    for peer in (client, backend):
        peer.send(noise(3 * RATE))
    scene.advance(1)
    scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)
    scene.run()
    assert (client.saw, backend.saw, scene.ended) == ("reset", "reset", "shutdown")


def test_who_is_told_close_notify_is_not_held_back(make_scene: Any) -> None:
    """A client that cannot be half-closed has sent much, and says its close_notify behind all of that."""
    scene = limited(make_scene)
    client, backend = scene.joined(tls=True)
    client.send(noise(10 * RATE))
    scene.advance(1)
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (client.received, client.saw, scene.ended) == (b"answer", "fin", "backend_closed")


def test_a_close_notify_is_heard_at_the_end_of_what_was_held_back(make_scene: Any) -> None:
    scene = limited(make_scene, tls_backends=True)
    client, backend = scene.joined()
    client.send(b"question")
    client.finish()
    backend.send(noise(2 * RATE))
    backend.finish()
    scene.advance(5)
    assert (client.received, client.saw) == (noise(2 * RATE), "fin")
    assert scene.record.reason.orderly


# Before a backend is there


def test_what_comes_before_a_backend_counts(make_scene: Any) -> None:
    scene = limited(make_scene, {ONE: "hangs"}, connect_timeout=60)
    client = scene.connect(early=noise(5 * RATE))
    scene.advance(2)
    assert 0.95 * 2 * RATE <= scene.kept <= most(2)
    scene.backends[ONE].behaviour = "accepts"
    scene.advance(1)
    backend = scene.backends[ONE].connection
    assert 0.95 * 3 * RATE <= len(backend.received) <= most(3)
    scene.advance(3)
    assert backend.received == client.sent


def test_early_bytes_are_bounded_all_the_same(make_scene: Any) -> None:
    scene = limited(make_scene, {ONE: "hangs"}, connect_timeout=60)
    client = scene.connect(early=noise(10 * RATE))
    scene.advance(8)
    assert 64 * 1024 <= scene.kept <= 64 * 1024 + PIECE
    scene.backends[ONE].behaviour = "accepts"
    scene.advance(8)
    assert scene.backends[ONE].connection.received == client.sent


def test_the_next_backend_has_its_own(make_scene: Any) -> None:
    scene = limited(make_scene, {ONE: "resets_at_once", TWO: "accepts"}, **RETRY_ON_RESET)
    client = scene.connect(early=noise(2 * RATE))
    scene.advance(1)
    backend = scene.backends[TWO].connection
    backend.send(noise(2 * RATE))
    scene.advance(1)
    assert 0.95 * RATE <= len(client.received) <= most(1)
    scene.advance(1)
    assert (backend.received, client.received) == (noise(2 * RATE), noise(2 * RATE))


# A reader that is slower still


@pytest.mark.parametrize("sends", SIDES)
def test_a_reader_that_stops_is_waited_for(make_scene: Any, sends: str) -> None:
    rate = 1_000_000
    scene = limited(make_scene, rate=rate)
    sender, reader = sides(scene, sends)
    reader.stop_reading()
    sender.send(noise(3 * rate))
    scene.advance(5)
    assert scene.kept < BOUND
    assert sender.unsent > 2 * rate
    reader.start_reading()
    scene.run()
    before = len(reader.received)
    scene.advance(1)
    assert 0.9 * rate <= len(reader.received) - before <= most(1, rate, 64 * 1024)
    scene.advance(3)
    assert reader.received == noise(3 * rate)


@pytest.mark.parametrize("sends", SIDES)
def test_a_reader_that_stops_while_the_sender_waits_for_its_rate(make_scene: Any, sends: str) -> None:
    """Neither of the two reasons not to read is forgotten over the end of the other."""
    scene = limited(make_scene, rate=1_000_000, network={"send_buffer": 4000, "receive_buffer": 4000})
    sender, reader = sides(scene, sends)
    sender.send(noise(3_000_000))
    for _ in range(30):
        reader.stop_reading()
        scene.advance(0.15)
        assert scene.kept < BOUND
        reader.start_reading()
        before = len(reader.received)
        scene.advance(0.1)
        assert len(reader.received) - before <= most(0.25, 1_000_000, BOUND)
    scene.advance(5)
    assert reader.received == noise(3_000_000)


# Time


def test_an_idle_one_ends(make_scene: Any) -> None:
    scene = limited(make_scene, settings={"idle_timeout": 10})
    client, backend = scene.joined()
    client.send(noise(2 * RATE))
    scene.advance(11)
    assert (len(backend.received), scene.records) == (2 * RATE, [])
    scene.advance(4)
    assert scene.ended == "idle_timeout"


@pytest.mark.parametrize("half_closed", [False, True])
def test_who_is_held_back_is_not_idle(make_scene: Any, half_closed: bool) -> None:
    """A record of 16 KiB at 1000 bytes a second."""
    scene = limited(
        make_scene,
        rate=1000,
        tls_backends=True,
        settings={"idle_timeout": 5, "half_close_timeout": 4},
    )
    client, backend = scene.joined()
    if half_closed:
        client.finish()
    data = noise(3 * 2**14)
    backend.send(data)
    scene.advance(30)
    assert scene.records == []
    scene.advance(4)
    assert client.received == data
    scene.advance(30)  # the last record has to be paid back, too
    assert scene.ended == ("client_closed" if half_closed else "idle_timeout")


# Without


def test_who_has_no_limit_is_not_counted(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(noise(10 * RATE))
    backend.send(noise(10 * RATE))
    scene.run()
    assert len(backend.received) == len(client.received) == 10 * RATE
    (session,) = scene.frontend.registry.sessions
    assert session.client.limiter is session.backend.limiter is None


# On trial


def tried(make_scene: Any, **more: Any) -> Any:
    return limited(make_scene, settings={"dry_run": True}, **more)


@pytest.mark.parametrize("sends", SIDES)
def test_on_trial_nothing_is_held_back_and_a_session_counts_once(make_scene: Any, sends: str) -> None:
    scene = tried(make_scene)
    sender, reader = sides(scene, sends)
    data = noise(5 * RATE)
    with capturedLogs() as events:
        for _ in range(2):
            sender.send(data)
            scene.run()
    assert reader.received == 2 * data
    assert scene.frontend.stats.would_limit == {DryRunLimit.BANDWIDTH: 1}
    assert [formatEvent(event) for event in events] == [
        "frontend frontend: limits not enforced, because of dry_run (bandwidth_per_connection: 1)"
    ]


def test_on_trial_who_is_slow_enough_is_not_told_of(make_scene: Any) -> None:
    scene = tried(make_scene)
    client, backend = scene.joined()
    for _ in range(20):
        client.send(noise(PIECE))
        backend.send(noise(PIECE))
        scene.advance(PIECE / RATE)
    assert scene.frontend.stats.would_limit == {}


def test_on_trial_a_client_that_is_too_fast_before_there_is_a_backend_counts_once(make_scene: Any) -> None:
    scene = tried(make_scene, backends={ONE: "hangs", TWO: "accepts"}, connect_timeout=1)
    client = scene.connect()
    client.send(noise(2 * RATE))
    scene.advance(2)
    (backend,) = scene.backends[TWO].connections
    backend.send(noise(2 * RATE))
    scene.run()
    assert (len(backend.received), len(client.received)) == (2 * RATE, 2 * RATE)
    assert scene.frontend.stats.would_limit == {DryRunLimit.BANDWIDTH: 1}


@pytest.mark.parametrize(("share", "waits"), [(0.3, False), (0.4, True)])
@pytest.mark.parametrize("dry_run", [True, False])
def test_on_trial_what_would_come_at_once_does_not_count(
    make_scene: Any, share: float, waits: bool, dry_run: bool
) -> None:
    """A quarter of a second's worth and a read do, in force."""
    scene = limited(make_scene, settings={"dry_run": dry_run})
    client, backend = scene.joined()
    size = int(share * RATE)
    client.send(noise(size))
    scene.run()
    if dry_run:
        assert scene.frontend.stats.would_limit == ({DryRunLimit.BANDWIDTH: 1} if waits else {})
    else:
        assert (len(backend.received) < size) == waits


def test_on_trial_what_follows_too_soon_counts(make_scene: Any) -> None:
    scene = tried(make_scene)
    client, _ = scene.joined()
    client.send(noise(int(0.3 * RATE)))
    scene.advance(0.04)
    client.send(b"more")
    scene.run()
    assert scene.frontend.stats.would_limit == {DryRunLimit.BANDWIDTH: 1}


def test_on_trial_ends_are_as_they_are_without(make_scene: Any) -> None:
    scene = tried(make_scene)
    client, backend = scene.joined()
    client.send(noise(PIECE))
    client.finish()
    scene.run()
    backend.finish()
    scene.run()
    assert (scene.ended, scene.leftovers()) == ("client_closed", [])
