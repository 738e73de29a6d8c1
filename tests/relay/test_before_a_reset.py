"""What a peer has said before it breaks off reaches the other side, and then the reset does."""

from __future__ import annotations

import random
from typing import Any

import pytest

from support.scene import HALF_CLOSE_TIMEOUT, ONE, RETRY_ON_RESET, TWO
from tcpbalance.proxy.reasons import EndReason

LATE = 3.0
"""Seconds that a deadline may be late: the clock of deadlines is coarse."""

SOON = 2.0
"""Seconds within which it is noticed that a peer has got everything."""

TINY = {"send_buffer": 8_000, "receive_buffer": 8_000}
SMALL = {"send_buffer": 32_000, "receive_buffer": 32_000}
LARGE = {"send_buffer": 200_000, "receive_buffer": 200_000}
ANSWER = b"HTTP/1.1 413 Request Entity Too Large\r\n\r\n"

WHO = pytest.mark.parametrize("who", ["client", "backend"])
EXCHANGES = pytest.mark.parametrize("exchanges", [0, 3], ids=["through the session", "from leg to leg"])


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def talked(scene: Any, who: str, exchanges: int, **how: Any) -> tuple[Any, Any]:
    """One who is going to break off and the other side, after so many messages each way."""
    client, backend = scene.joined(**how)
    for _ in range(exchanges):
        for peer in (client, backend):
            peer.send(b"more")
            scene.run()
    return (client, backend) if who == "client" else (backend, client)


def assert_carried(scene: Any, who: str, broken: Any, other: Any) -> None:
    """The other one has all that had come before the reset, and the reset."""
    assert other.received == bytes(broken.sent[: broken.arrived])
    assert (other.saw, other.complete) == ("reset", False)
    assert scene.ended == f"{who}_reset"
    assert getattr(scene.record, f"{who}_bytes") == broken.arrived
    assert (scene.active, scene.kept) == ([0], 0)


@WHO
@EXCHANGES
@pytest.mark.parametrize("size", [1, 60_000])
def test_the_last_words(make_scene: Any, who: str, exchanges: int, size: int) -> None:
    scene = make_scene(retries=0)
    broken, other = talked(scene, who, exchanges)
    broken.send(noise(size))
    broken.reset()
    scene.advance(SOON)
    assert broken.arrived == len(broken.sent) > 0
    assert_carried(scene, who, broken, other)


@WHO
@EXCHANGES
def test_a_write_that_meets_the_break_first(make_scene: Any, who: str, exchanges: int) -> None:
    """The other one is in the middle of an upload, which the broken one does not read."""
    scene = make_scene(network=SMALL, retries=0)
    broken, other = talked(scene, who, exchanges)
    broken.stop_reading()
    other.send(noise(1_000_000))
    scene.run()
    assert other.unsent
    broken.send(ANSWER)
    broken.reset()
    scene.advance(SOON)
    assert_carried(scene, who, broken, other)


@WHO
def test_a_write_in_the_same_turn(make_scene: Any, who: str) -> None:
    """The bytes of the other side are dealt with first, and their write takes the error from the kernel."""
    scene = make_scene(network={"shuffle": First(last=who)}, retries=0)
    broken, other = talked(scene, who, 3)
    broken.send(ANSWER)
    broken.reset()
    other.send(b"more of the upload")
    scene.advance(SOON)
    assert_carried(scene, who, broken, other)


class First(random.Random):
    """Puts one side's connections behind those of the other; the client's come first otherwise."""

    def __init__(self, last: str) -> None:
        super().__init__(0)
        self._reverse = last == "client"

    def shuffle(self, ready: Any) -> None:
        ready.sort(reverse=self._reverse)


@WHO
@EXCHANGES
@pytest.mark.parametrize("size", [300_000, 900_000])
def test_a_reader_that_is_slow(make_scene: Any, who: str, exchanges: int, size: int) -> None:
    """The bytes wait wherever there is room: here, in a pipe, in either kernel."""
    scene = make_scene(network=LARGE, retries=0)
    broken, other = talked(scene, who, exchanges)
    other.stop_reading()
    broken.send(noise(size))
    scene.run()
    broken.reset()
    for _ in range(8):
        scene.advance(HALF_CLOSE_TIMEOUT / 4)
        other.read(10_000)
    assert (scene.records, other.saw) == ([], "open"), "a reader that gets on is waited for"
    other.start_reading()
    scene.advance(SOON)
    assert_carried(scene, who, broken, other)


@WHO
@EXCHANGES
def test_a_reader_that_has_stopped_is_not_waited_for_any_longer(
    make_scene: Any, who: str, exchanges: int
) -> None:
    scene = make_scene(network=SMALL, retries=0, settings={"half_close_timeout": 5.0})
    broken, other = talked(scene, who, exchanges)
    other.stop_reading()
    broken.send(noise(1_000_000))
    scene.run()
    broken.reset()
    other_reads_enough_to_show_the_break(scene, other)
    scene.advance(4.9)
    assert scene.records == []
    scene.advance(2 * 5.0 + 2 * LATE)
    assert (scene.ended, scene.active, scene.kept) == (f"{who}_reset", [0], 0)
    other.start_reading()
    scene.run()
    assert (other.saw, other.complete) == ("reset", False)


def other_reads_enough_to_show_the_break(scene: Any, other: Any) -> None:
    """A stock transport that is not read hears of a break with its next bytes."""
    for _ in range(40):
        scene.run()
        if scene.decided:
            return
        other.read(10_000)


def delivering(make_scene: Any, who: str, exchanges: int, **settings: Any) -> tuple[Any, Any]:
    """A session whose end is decided, and the one who takes the last bytes slowly."""
    scene = make_scene(network=LARGE, retries=0, settings=settings)
    broken, other = talked(scene, who, exchanges)
    other.stop_reading()
    broken.send(noise(900_000))
    scene.run()
    broken.reset()
    other_reads_enough_to_show_the_break(scene, other)
    assert (scene.decided, scene.records) == (True, [])
    return scene, other


@WHO
@EXCHANGES
@pytest.mark.parametrize("reason", [EndReason.SHUTDOWN, EndReason.OVERLOAD])
def test_a_slow_reader_of_last_bytes_holds_no_shutdown_up(
    make_scene: Any, who: str, exchanges: int, reason: EndReason
) -> None:
    scene, other = delivering(make_scene, who, exchanges)
    scene.frontend.registry.end_sessions(reason)
    scene.run()
    assert (scene.ended, scene.active, scene.kept) == (f"{who}_reset", [0], 0)
    other.start_reading()
    scene.run()
    assert other.saw == "reset"


@WHO
@EXCHANGES
def test_a_slow_reader_of_last_bytes_does_not_outlive_the_age(
    make_scene: Any, who: str, exchanges: int
) -> None:
    scene, other = delivering(make_scene, who, exchanges, max_connection_age=100.0)
    for _ in range(8):
        scene.advance(10)
        other.read(1_000)
    assert scene.records == []
    for _ in range(4):
        scene.advance(10)
        other.read(1_000)
    assert (scene.ended, scene.active, scene.kept) == (f"{who}_reset", [0], 0)


@WHO
@EXCHANGES
def test_last_bytes_are_among_what_a_session_buffers(make_scene: Any, who: str, exchanges: int) -> None:
    scene, _ = delivering(make_scene, who, exchanges)
    (session,) = scene.frontend.registry.sessions
    assert session.buffered > 0


@WHO
@EXCHANGES
@pytest.mark.parametrize("size", [300_000, 900_000], ids=["all is read here", "not all is read here"])
def test_what_is_sent_to_one_that_has_broken_off_is_not_read(
    make_scene: Any, who: str, exchanges: int, size: int
) -> None:
    scene = make_scene(network=LARGE, retries=0)
    broken, other = talked(scene, who, exchanges)
    other.stop_reading()
    broken.send(noise(size))
    scene.run()
    broken.reset()
    other_reads_enough_to_show_the_break(scene, other)
    other.send(noise(2_000_000))
    scene.advance(1)
    if scene.data_path != "portable":  # where a break is heard of by reading
        assert other.unsent > 1_000_000
    other.start_reading()
    scene.advance(SOON)
    assert other.received == bytes(broken.sent[: broken.arrived])
    assert (other.saw, scene.ended, scene.active) == ("reset", f"{who}_reset", [0])


@WHO
@pytest.mark.parametrize("size", [300_000, 900_000], ids=["all is read here", "not all is read here"])
def test_both_break_off(make_scene: Any, who: str, size: int) -> None:
    """The one who should have got the last bytes breaks off, too: nothing is waited for, or timed."""
    scene = make_scene(network=LARGE, retries=0)
    broken, other = talked(scene, who, 3)
    other.stop_reading()
    broken.send(noise(size))
    scene.run()
    broken.reset()
    other_reads_enough_to_show_the_break(scene, other)
    assert scene.records == []
    other.reset()
    scene.run()
    assert (len(scene.records), scene.active, scene.kept) == (1, [0], 0)
    assert scene.network.clock.getDelayedCalls() == []


@WHO
@EXCHANGES
@pytest.mark.parametrize("leaves", [False, True], ids=["reads", "breaks off"])
def test_what_waits_for_one_that_has_broken_off_is_dropped(
    make_scene: Any, who: str, exchanges: int, leaves: bool
) -> None:
    """Whatever it waits in: it is memory, and perhaps a pipe, of which there are few. And what came before
    the break is read no faster than the other one takes it."""
    scene = make_scene(network=LARGE, retries=0)
    broken, other = talked(scene, who, exchanges)
    broken.stop_reading()
    other.stop_reading()
    other.send(noise(900_000))
    broken.send(noise(900_000))
    scene.run()
    client, backend = scene.network.transports
    theirs, others = (client, backend) if who == "client" else (backend, client)
    before = others.kept
    assert min(before, theirs.kept) > 0
    broken.reset()
    scene.run()
    assert (scene.decided, scene.records) == (True, [])
    assert (others.kept, theirs.kept) == (before, 0)
    if leaves:
        other.reset()
        scene.run()
        assert (scene.ended, scene.active) == (f"{who}_reset", [0])
    else:
        other.start_reading()
        scene.advance(SOON)
        assert_carried(scene, who, broken, other)


@WHO
@EXCHANGES
def test_a_reset_with_nothing_to_deliver_is_carried_over_at_once(
    make_scene: Any, who: str, exchanges: int
) -> None:
    scene = make_scene(retries=0)
    broken, other = talked(scene, who, exchanges)
    calls = len(scene.network.clock.getDelayedCalls())
    broken.reset()
    scene.network.step()
    scene.network.step()  # Twisted puts the closing of the other side off to its next turn
    assert other.socket.was_reset
    assert scene.ended == f"{who}_reset"
    assert len(scene.network.clock.getDelayedCalls()) <= calls, "nothing is timed"


@WHO
def test_within_a_bandwidth(make_scene: Any, who: str) -> None:
    scene = make_scene(retries=0, settings={"bandwidth_per_connection": 10_000})
    broken, other = talked(scene, who, 1)
    broken.send(noise(50_000))
    broken.reset()
    scene.advance(3)
    assert 0 < len(other.received) < len(broken.sent)
    scene.advance(5)
    assert broken.arrived == len(broken.sent)
    assert_carried(scene, who, broken, other)


@pytest.mark.parametrize("tls", ["client", "backend"])
@WHO
def test_twisteds_tls_on_one_side(make_scene: Any, who: str, tls: str) -> None:
    scene = make_scene(retries=0, tls_backends=tls == "backend")
    broken, other = talked(scene, who, 1, tls=tls == "client")
    other.stop_reading()
    broken.send(noise(60_000))
    broken.reset()
    scene.advance(1)
    other.start_reading()
    scene.advance(SOON)
    assert (other.received, other.saw) == (bytes(broken.sent), "reset")
    assert scene.ended == f"{who}_reset"


@WHO
def test_an_end_before_the_reset(make_scene: Any, who: str) -> None:
    """A server that answers, closes, and is written to: its end was in order, and its answer whole."""
    scene = make_scene(retries=0, network=LARGE)
    broken, other = talked(scene, who, 3)
    other.stop_reading()
    broken.send(noise(500_000))
    scene.run()
    broken.finish()
    broken.reset()
    other.send(b"thanks")
    scene.advance(1)
    other.start_reading()
    scene.advance(SOON)
    assert other.received == bytes(broken.sent)
    assert scene.ended == f"{who}_reset"
    assert other.socket.was_reset
    assert other.complete


@WHO
@pytest.mark.parametrize("size", [0, 1, 60_000])
def test_an_end_and_a_reset_that_our_own_write_meets(make_scene: Any, who: str, size: int) -> None:
    """The write comes before the end can be read."""
    scene = make_scene(retries=0, network=LARGE)
    broken, other = talked(scene, who, 3)
    other.send(b"thanks")
    scene.network.step()
    broken.send(noise(size))
    broken.finish()
    broken.reset()
    scene.advance(SOON)
    assert other.received == bytes(broken.sent)
    assert (other.complete, other.socket.was_reset) == (True, True)
    assert (scene.active, scene.kept) == ([0], 0)


def test_a_silent_backend_is_still_replaced(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect(early=b"question")
    scene.run()
    scene.backends[ONE].connection.reset()
    scene.run()
    second = scene.backends[TWO].connection
    second.send(b"answer")
    scene.run()
    assert (second.received, client.received) == (b"question", b"answer")


def test_a_backend_that_said_one_byte_is_not_replaced(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect(early=b"question")
    scene.run()
    backend = scene.backends[ONE].connection
    backend.send(b"x")
    backend.reset()
    scene.advance(SOON)
    assert (client.received, client.saw, scene.ended) == (b"x", "reset", "backend_reset")
    assert scene.backends[TWO].connections == []


def test_a_client_that_breaks_off_while_nobody_has_accepted(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect(early=b"question")
    scene.run()
    client.send(noise(100_000))
    scene.run()
    client.reset()
    scene.run()
    if scene.data_path == "portable":  # which hears of it when it reads on
        scene.backends[ONE].behaviour = "accepts"
        scene.advance(SOON)
    assert (scene.ended, scene.active) == ("client_reset", [0])


@WHO
@EXCHANGES
@pytest.mark.parametrize("size", [20_000, 60_000, 90_000])
def test_a_reset_that_cuts_short_what_the_peer_was_to_get_is_no_close(
    make_scene: Any, who: str, exchanges: int, size: int
) -> None:
    """Though both have finished sending. HAProxy logs "CD" and "SD", and not "--"."""
    scene = make_scene(retries=0, network=TINY)
    broken, other = talked(scene, who, exchanges)
    broken.stop_reading()
    broken.finish()
    scene.run()
    other.send(noise(size))
    other.finish()
    scene.run()
    broken.reset()
    scene.advance(HALF_CLOSE_TIMEOUT + LATE)
    assert scene.ended == f"{who}_reset"


@WHO
@EXCHANGES
def test_a_reset_after_both_have_finished_and_nothing_waits_is_a_close(
    make_scene: Any, who: str, exchanges: int
) -> None:
    scene = make_scene(retries=0)
    broken, other = talked(scene, who, exchanges)
    broken.stop_reading()
    broken.finish()
    scene.run()
    other.send(b"answer")
    other.finish()
    scene.run()
    broken.reset()
    scene.advance(HALF_CLOSE_TIMEOUT + LATE)
    assert scene.ended == f"{who}_closed"
