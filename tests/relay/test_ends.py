"""How each side's end reaches the other: FIN as FIN after the last byte, RST as RST, in every phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.network import no_logged_failure
from support.scene import ONE
from tcpbalance.proxy.bare_session import BareSession
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.session import Session

MIB = 1024 * 1024

SOON = 2.0
"""Seconds within which it is noticed that a peer has got everything."""


# Half-close


def test_client_finishes_first(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(b"question")
    client.finish()
    scene.run()
    assert (backend.received, backend.saw, client.saw) == (b"question", "fin", "open")
    assert scene.records == []
    backend.send(b"long ")
    scene.run()
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (client.received, client.saw) == (b"long answer", "fin")
    assert scene.ended == "client_closed"
    assert scene.record.reason.closer == "client"


def test_backend_finishes_first(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    backend.send(b"banner")
    backend.finish()
    scene.run()
    assert (client.received, client.saw, backend.saw) == (b"banner", "fin", "open")
    assert scene.records == []
    client.send(b"still talking")
    scene.run()
    client.finish()
    scene.run()
    assert (backend.received, backend.saw) == (b"still talking", "fin")
    assert scene.ended == "backend_closed"
    assert scene.record.reason.closer == "backend"


def test_both_finish_at_once(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(b"a")
    backend.send(b"b")
    client.finish()
    backend.finish()
    scene.run()
    assert (client.received, client.saw) == (b"b", "fin")
    assert (backend.received, backend.saw) == (b"a", "fin")
    assert scene.record.reason.closer in {"client", "backend"}


def test_both_finish_without_a_byte(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.finish()
    scene.run()
    backend.finish()
    scene.run()
    assert (client.saw, backend.saw) == ("fin", "fin")
    assert scene.ended == "client_closed"


@pytest.mark.parametrize("first", ["client", "backend"])
def test_the_end_waits_for_a_reader_that_has_stopped(make_scene: Any, first: str) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    sender, receiver = (client, backend) if first == "client" else (backend, client)
    receiver.stop_reading()
    sender.send(bytes(2 * MIB))
    sender.finish()
    scene.run()
    assert receiver.saw == "open"
    receiver.start_reading()
    scene.run()
    assert (len(receiver.received), receiver.saw) == (2 * MIB, "fin")
    assert scene.records == [], "the other direction is still open"
    receiver.send(bytes(MIB))
    receiver.finish()
    scene.run()
    assert (len(sender.received), sender.saw) == (MIB, "fin")


def test_both_finished_with_bytes_waiting_on_both_sides(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    for peer in (client, backend):
        peer.stop_reading()
        peer.send(bytes(MIB))
        peer.finish()
    scene.run()
    client.start_reading()
    scene.run()
    assert (len(client.received), client.saw) == (MIB, "fin")
    assert scene.records == []
    backend.start_reading()
    scene.run()
    assert (len(backend.received), backend.saw) == (MIB, "fin")
    assert scene.record.reason.orderly


def test_a_backend_that_answers_and_closes_whole(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(b"GET /")
    scene.run()
    backend.send(b"answer")
    backend.close()
    scene.run()
    assert (client.received, client.saw) == (b"answer", "fin")
    client.finish()
    scene.run()
    assert client.saw == "fin"
    assert scene.ended == "backend_closed"


def test_sending_on_to_a_backend_that_has_closed_whole(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    backend.close()
    scene.run()
    assert client.saw == "fin"
    client.send(b"anybody there?")
    scene.run()
    client.send(b"hello?")
    scene.run()
    assert client.saw == "reset"
    assert scene.ended == "backend_reset"


# Reset

PHASES: dict[str, Callable[[Any, Any], None]] = {}


def phase(arrange: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """A state of a session with both sides connected, in which one of them may break off."""
    PHASES[arrange.__name__] = arrange
    return arrange


@phase
def mid_stream(client: Any, backend: Any) -> None:
    client.send(b"question")
    backend.send(b"answer")


@phase
def client_has_finished(client: Any, backend: Any) -> None:
    backend.send(b"banner")
    client.send(b"question")
    client.finish()


@phase
def backend_has_finished(client: Any, backend: Any) -> None:
    backend.send(b"banner")
    backend.finish()


@phase
def bytes_wait_for_the_client(client: Any, backend: Any) -> None:
    client.stop_reading()
    backend.send(bytes(MIB))


@phase
def bytes_wait_for_the_backend(client: Any, backend: Any) -> None:
    backend.send(b"banner")
    backend.stop_reading()
    client.send(bytes(MIB))


@phase
def bytes_wait_for_both(client: Any, backend: Any) -> None:
    for peer in (client, backend):
        peer.stop_reading()
        peer.send(bytes(MIB))


def break_off(scene: Any, sides: tuple[Any, Any], who: str) -> None:
    """Reset one side; the other then reads and tries to send, so that want of traffic hides nothing."""
    client, backend = sides
    resetter, other = (client, backend) if who == "client" else (backend, client)
    resetter.reset()
    scene.run()
    other.start_reading()
    scene.advance(SOON)
    for _ in range(2):
        if not other.finished and other.saw != "reset":
            other.send(b"anybody there?")
            scene.advance(SOON)


@pytest.mark.parametrize("arrange", PHASES.values(), ids=PHASES.keys())
@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_reset_is_carried_over(make_scene: Any, who: str, arrange: Callable[[Any, Any], None]) -> None:
    scene = make_scene()
    client, backend = sides = scene.joined()
    arrange(client, backend)
    scene.run()
    break_off(scene, sides, who)
    other = backend if who == "client" else client
    assert other.saw == "reset"
    assert scene.ended == f"{who}_reset"
    assert scene.record.reason.closer == who
    assert scene.active == [0]


def test_a_client_resets_before_any_byte(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.reset()
    scene.run()
    assert backend.saw == "reset"
    assert scene.ended == "client_reset"


def test_bytes_before_a_reset_are_not_taken_for_the_whole(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    backend.send(b"half an answ")
    backend.reset()
    scene.run()
    assert (client.saw, client.complete) == ("reset", False)


@pytest.mark.parametrize("who", ["client", "backend"])
@pytest.mark.parametrize("waiting", ["resetter", "other"])
def test_a_reset_after_both_have_finished(make_scene: Any, who: str, waiting: str) -> None:
    """Both have sent all they had to send; one of them has not fetched it all."""
    scene = make_scene()
    client, backend = scene.joined()
    resetter, other = (client, backend) if who == "client" else (backend, client)
    reader = resetter if waiting == "resetter" else other
    reader.stop_reading()
    (other if reader is resetter else resetter).send(bytes(120_000))
    for peer in (client, backend):
        peer.finish()
    scene.run()
    assert scene.records == []
    resetter.reset()
    scene.run()
    other.start_reading()
    scene.run()
    assert not other.complete or other.received == resetter.sent
    assert (len(scene.records), scene.active, scene.kept) == (1, [0], 0)


@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_reset_that_is_seen_just_when_reading_goes_on(make_scene: Any, who: str) -> None:
    """A stock transport reports it as the end of the stream: see ``reset_mistaken_for_the_end``."""
    scene = make_scene(network={"send_buffer": 200_000, "receive_buffer": 200_000})
    client, backend = scene.joined()
    for peer in (client, backend):
        peer.stop_reading()
        peer.send(bytes(MIB))
    scene.run()
    resetter, other = (client, backend) if who == "client" else (backend, client)
    resetter.reset()
    other.start_reading()
    scene.run()
    assert (other.saw, other.complete) == ("reset", False)
    assert scene.ended == f"{who}_reset"


@pytest.mark.parametrize(
    "reason",
    [it for it in EndReason if it.closer == "balancer" and it is not EndReason.REBALANCED],
)
def test_the_balancer_ends_it(make_scene: Any, reason: EndReason) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(b"x")
    backend.send(b"y")
    scene.run()
    scene.frontend.registry.end_sessions(reason)
    scene.run()
    assert client.saw == backend.saw == "reset", "neither side has finished, so neither is shown an end"
    assert scene.record.reason is reason


def test_ending_twice_keeps_the_first_reason(make_scene: Any) -> None:
    scene = make_scene()
    client, _ = scene.joined()
    (session,) = scene.frontend.registry.sessions
    session.end(EndReason.SHUTDOWN)
    session.end(EndReason.BACKEND_DOWN)
    scene.run()
    session.end(EndReason.BACKEND_DOWN)
    scene.run()
    assert client.saw == "reset"
    assert scene.ended == "shutdown"


def test_only_the_sessions_of_one_backend_are_ended(make_scene: Any) -> None:
    scene = make_scene([ONE, "10.0.0.2:80"])
    clients = [scene.connect() for _ in range(4)]
    scene.run()
    scene.frontend.registry.end_sessions(EndReason.BACKEND_DOWN, {scene.pool.backends[0]})
    scene.run()
    assert [client.saw for client in clients] == ["reset", "open", "reset", "open"]


def test_idle_is_told_once_all_have_gone(make_scene: Any) -> None:
    scene = make_scene()
    idle: list[str] = []
    scene.frontend.registry.when_idle().addCallback(lambda _: idle.append("before"))
    client, backend = scene.joined()
    scene.frontend.registry.when_idle().addCallback(lambda _: idle.append("after"))
    assert idle == ["before"]
    client.finish()
    backend.finish()
    scene.run()
    assert idle == ["before", "after"]


def test_an_exception_of_ours_ends_the_session(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene()
    client, backend = scene.joined()

    def broken(data: bytes) -> None:
        raise LookupError(data)

    monkeypatch.setattr(Session, "client_sent", lambda _, data: broken(data))
    monkeypatch.setattr(BareSession, "_read_client", lambda _, events: broken(b""))
    client.send(b"x")
    with pytest.raises(AssertionError, match="LookupError"), no_logged_failure():
        scene.run()
    scene.run()
    assert backend.saw == "reset"
    assert scene.ended == "internal_error"
