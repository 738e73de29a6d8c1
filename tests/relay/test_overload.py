"""What sessions tell of their buffers, and what becomes of those that are ended for it."""

from __future__ import annotations

from typing import Any

import pytest

from support.scene import ONE, RETRY_ON_RESET
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.server_names import NameMap

EARLY = b"x" * 300_000
FOR_CLIENT, FOR_BACKEND = 1000, 20_000


@pytest.fixture(autouse=True)
def in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say what is in flight, whatever is."""

    def of(side: Peer) -> int:
        if side.gone:
            return 0
        return FOR_CLIENT if side is side.session.client else FOR_BACKEND  # type: ignore[attr-defined]

    monkeypatch.setattr(Peer, "in_flight", of)


def buffered(scene: Any) -> int:
    (session,) = scene.frontend.registry.sessions
    size = session.buffered
    assert isinstance(size, int)
    return size


def test_what_is_in_flight_to_either_side(make_scene: Any) -> None:
    scene = make_scene()
    _, backend = scene.joined()
    backend.send(b"answer")
    scene.run()
    assert buffered(scene) == (0 if scene.begins_bare else FOR_CLIENT + FOR_BACKEND)


def test_what_is_kept_until_a_backend_has_answered(make_scene: Any) -> None:
    scene = make_scene(**RETRY_ON_RESET)
    client, backend = scene.joined()
    client.send(b"question")
    scene.run()
    assert buffered(scene) == FOR_CLIENT + FOR_BACKEND + len(b"question")
    backend.send(b"answer")
    scene.run()
    assert buffered(scene) == FOR_CLIENT + FOR_BACKEND


def test_what_is_kept_for_a_backend_that_is_not_there_yet(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    scene.connect(early=EARLY)
    scene.run()
    if scene.begins_bare:
        scene.advance(scene.pool.connect_timeout / 2)
        assert buffered(scene) == 0
        return
    assert buffered(scene) == FOR_CLIENT + scene.kept
    assert scene.kept >= 64 * 1024


def test_what_a_client_said_that_has_to_say_more(make_scene: Any) -> None:
    scene = make_scene(preread=lambda pool: PrereadSettings(routes=NameMap([("a.example", pool)], deep=True)))
    scene.connect(early=b"\x16\x03\x01")
    scene.run()
    assert buffered(scene) == FOR_CLIENT + 3


def test_both_sides_of_a_session_that_is_ended_see_a_reset(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(EARLY)
    scene.run()
    scene.frontend.registry.end_sessions(EndReason.OVERLOAD)
    client.start_reading()
    scene.run()
    assert (client.saw, backend.saw, scene.ended) == ("reset", "reset", "overload")
    assert (scene.kept, scene.record.reason.closer) == (0, "balancer")


def test_who_is_still_heard_can_be_ended(make_scene: Any) -> None:
    scene = make_scene(preread=lambda pool: PrereadSettings(routes=NameMap([("a.example", pool)], deep=True)))
    client = scene.connect(early=b"\x16\x03\x01")
    scene.run()
    scene.frontend.registry.end_sessions(EndReason.OVERLOAD)
    scene.run()
    assert (client.saw, scene.ended) == ("reset", "overload")


def test_one_whose_end_is_decided_and_who_buffers_can_be_ended(make_scene: Any) -> None:
    """And its end stays what it was. Null TLS knows no half-close, so that its end is that of the session."""
    scene = make_scene(tls_backends=True)
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(bytes(120_000))
    backend.finish()
    scene.run()
    (session,) = scene.frontend.registry.sessions
    assert (scene.decided, session.buffered > 0) == (True, True)
    session.end(EndReason.OVERLOAD)
    scene.run()
    assert (scene.ended, scene.kept) == ("backend_closed", 0)
    client.start_reading()
    scene.run()
    assert client.saw == "reset"
