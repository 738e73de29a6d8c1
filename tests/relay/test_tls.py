"""Sides that know no half-close: TLS ends whole, with a close_notify, or it was cut off."""

from __future__ import annotations

from typing import Any

import pytest

from support.scene import ONE, RETRY_ON_RESET, TWO

MIB = 1024 * 1024

SOON = 3.0
"""Seconds in which it is noticed that a peer has got everything."""


# A client that speaks TLS


def test_both_ways(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    client.send(b"question")
    backend.send(b"answer")
    scene.run()
    assert (backend.received, client.received) == (b"question", b"answer")


def test_client_says_close_notify(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    client.send(bytes(MIB))
    client.finish()
    scene.run()
    assert (len(backend.received), backend.saw) == (MIB, "fin")
    assert (client.saw, scene.ended) == ("fin", "client_closed")


def test_client_says_close_notify_and_the_backend_does_not_read(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    backend.stop_reading()
    client.send(bytes(300_000))
    client.finish()
    scene.run()
    backend.start_reading()
    scene.run()
    assert (len(backend.received), backend.saw) == (300_000, "fin")
    assert scene.ended == "client_closed"


def test_client_says_close_notify_while_dialling(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect(tls=True, early=b"question")
    client.finish()
    scene.run()
    assert scene.records == [], "what it has sent is still to be delivered"
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    assert (backend.received, backend.saw) == (b"question", "fin")
    assert (scene.ended, scene.record.client_bytes, scene.active) == ("client_closed", 8, [0])


def test_client_says_close_notify_while_dialling_and_nobody_accepts(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "hangs"}, retries=1)
    client = scene.connect(tls=True, early=b"question")
    client.finish()
    scene.advance(5)
    assert scene.record.attempts == 2
    assert scene.active == [0, 0]


def test_client_says_close_notify_without_a_byte_while_dialling(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect(tls=True)
    client.finish()
    scene.run()
    assert (scene.ended, scene.active, scene.network.dialled) == ("client_closed", [0], [])


def test_client_is_cut_off(make_scene: Any) -> None:
    """An end without close_notify may be an attacker's doing (RFC 8446, section 6.1): it becomes a reset."""
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    client.send(b"half a quest")
    client.close_without_close_notify()
    scene.advance(SOON)
    assert (backend.received, backend.saw, backend.complete) == (b"half a quest", "reset", False)
    assert scene.ended == "client_reset"


def test_client_resets(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    client.reset()
    scene.run()
    assert (backend.saw, scene.ended) == ("reset", "client_reset")


def test_backend_finishes(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    client.stop_reading()
    backend.send(bytes(MIB))
    backend.finish()
    scene.run()
    assert scene.records == []
    client.start_reading()
    scene.run()
    assert (len(client.received), client.saw) == (MIB, "fin")
    assert (backend.complete, scene.ended) == (False, "backend_closed"), (
        "the client sent no close_notify first"
    )


def test_backend_finishes_while_the_client_is_sending(make_scene: Any) -> None:
    """The backend half-closes and reads on: it gets all that the client sends, or sees that it is not all."""
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    backend.stop_reading()
    client.send(bytes(MIB))
    scene.run()
    backend.finish()
    scene.run()
    backend.start_reading()
    scene.advance(SOON)
    assert backend.saw == "reset"
    assert not backend.complete or len(backend.received) == MIB


def test_backend_resets(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    backend.send(b"half an answ")
    scene.run()
    backend.reset()
    scene.run()
    assert (client.saw, client.complete) == ("reset", False)
    assert scene.ended == "backend_reset"


def test_client_that_never_answers_the_close_notify(make_scene: Any) -> None:
    scene = make_scene(settings={"half_close_timeout": 5})
    client, backend = scene.joined(tls=True)
    client.answers = False
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (client.received, client.saw) == (b"answer", "fin")
    scene.advance(10)
    assert (scene.ended, scene.active) == ("backend_closed", [0])


def test_client_that_is_held_back_is_heard_when_it_answers_the_close_notify(make_scene: Any) -> None:
    """It is not read, because the backend does not read; but its close_notify is waited for."""
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    backend.stop_reading()
    client.send(bytes(300_000))
    scene.run()
    backend.finish()
    scene.run()
    assert scene.ended == "backend_closed"


def test_no_backend(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, retries=0)
    client = scene.connect(tls=True)
    scene.run()
    scene.backends[ONE].behaviour = "refuses"
    scene.run()
    assert (client.saw, scene.ended) == ("fin", "connect_failed")


def test_no_backend_before_the_handshake_is_done(make_scene: Any) -> None:
    """Twisted breaks off then, since there is no way to say close_notify yet."""
    scene = make_scene({ONE: "refuses"}, retries=0)
    client = scene.connect(tls=True)
    scene.run()
    # Where a socket is dialled, its failure is known a turn later, and the handshake is done by then.
    saw = "fin" if scene.begins_bare else "reset"
    assert (client.saw, scene.ended) == (saw, "connect_failed")


@pytest.mark.parametrize("stalled", ["client", "backend"])
def test_memory_is_bounded(make_scene: Any, stalled: str) -> None:
    scene = make_scene()
    client, backend = scene.joined(tls=True)
    receiver, sender = (client, backend) if stalled == "client" else (backend, client)
    receiver.stop_reading()
    sender.send(bytes(8 * MIB))
    scene.run()
    assert max(transport.peak for transport in scene.network.transports) < 512 * 1024
    assert sender.unsent > 7 * MIB
    receiver.start_reading()
    scene.run()
    assert len(receiver.received) == 8 * MIB


def test_the_next_backend_is_tried(make_scene: Any) -> None:
    scene = make_scene({ONE: "resets_at_once", TWO: "accepts"}, **RETRY_ON_RESET)
    client = scene.connect(tls=True, early=b"question")
    scene.run()
    backend = scene.backends[TWO].connection
    backend.send(b"answer")
    scene.run()
    assert (backend.received, client.received) == (b"question", b"answer")


# A backend that speaks TLS


def test_backend_both_ways(make_scene: Any) -> None:
    scene = make_scene(tls_backends=True)
    client = scene.connect(early=b"early ")
    scene.run()
    client.send(b"bird")
    backend = scene.backends[ONE].connection
    backend.send(b"worm")
    scene.run()
    assert (backend.received, client.received) == (b"early bird", b"worm")


def test_backend_says_close_notify(make_scene: Any) -> None:
    scene = make_scene(tls_backends=True)
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(300_000))
    backend.finish()
    scene.run()
    client.start_reading()
    scene.run()
    assert (len(client.received), client.saw) == (300_000, "fin")
    assert scene.ended == "backend_closed"


def test_backend_is_cut_off(make_scene: Any) -> None:
    scene = make_scene(tls_backends=True)
    client, backend = scene.joined()
    backend.send(b"half an answ")
    scene.run()
    backend.close_without_close_notify()
    scene.run()
    assert (client.saw, client.complete) == ("reset", False)
    assert scene.ended == "backend_reset"


def test_client_finishes_before_a_backend_that_cannot_half_close(make_scene: Any) -> None:
    scene = make_scene(tls_backends=True)
    client, backend = scene.joined()
    backend.stop_reading()
    client.send(bytes(MIB))
    client.finish()
    scene.run()
    backend.start_reading()
    scene.run()
    assert (len(backend.received), backend.saw) == (MIB, "fin")
    assert scene.ended == "client_closed"


def test_client_that_has_finished_still_gets_the_answer(make_scene: Any) -> None:
    scene = make_scene(tls_backends=True)
    client, backend = scene.joined()
    backend.answers = False
    client.send(b"question")
    client.finish()
    scene.run()
    assert (backend.received, backend.saw) == (b"question", "fin")
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (client.received, client.saw) == (b"answer", "fin")
    assert scene.ended == "client_closed"


@pytest.mark.parametrize("size", [100_000, 3 * MIB])
def test_backend_says_close_notify_while_the_client_is_held_up(make_scene: Any, size: int) -> None:
    scene = make_scene(tls_backends=True)
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(size))
    backend.finish()
    scene.run()
    scene.advance(1)
    client.start_reading()
    scene.run()
    assert (len(client.received), client.saw) == (size, "fin")
    client.finish()
    scene.run()
    assert (scene.ended, scene.active) == ("backend_closed", [0])


def test_tls_on_both_sides(make_scene: Any) -> None:
    scene = make_scene(tls_backends=True)
    client, backend = scene.joined(tls=True)
    client.send(bytes(MIB))
    backend.send(bytes(MIB))
    scene.run()
    client.finish()
    scene.run()
    assert (len(backend.received), backend.saw) == (MIB, "fin")
    assert (len(client.received), client.saw) == (MIB, "fin")
