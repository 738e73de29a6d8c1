"""An exception in what a wheel calls ends the session that it was for, with one line in the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from support.network import no_logged_failure
from support.scene import ONE
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.bandwidth_limiter import BandwidthLimiter
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.dial import Dial
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.queue_entry import QueueEntry


class Broken(Exception):
    """What the tests raise."""


def raise_it(*_: object) -> None:
    raise Broken("on purpose")


@contextmanager
def one_logged() -> Iterator[None]:
    with pytest.raises(AssertionError) as logged, no_logged_failure():
        yield
    assert str(logged.value).count("Traceback") == str(logged.value).count("Broken: ") == 1


def test_a_deadline_of_a_session(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(settings={"idle_timeout": 20})
    client, backend = scene.joined()
    monkeypatch.setattr(Deadlines, "_is_too_slow", raise_it)
    with one_logged():
        scene.advance(60)
    assert scene.ended == "internal_error"
    assert client.saw == backend.saw == "reset"
    assert scene.active == [0]


def test_a_deadline_of_a_session_that_ends(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is buffered does not get out, and the clock that would give it up is broken."""
    scene = make_scene(settings={"half_close_timeout": 20, "idle_timeout": 40})
    client, backend = scene.joined()
    client.stop_reading()
    backend.send(b"x" * 4_000_000)
    scene.run()
    backend.finish()
    client.finish()
    scene.run()
    assert scene.records == []
    monkeypatch.setattr(Deadlines, "_is_too_slow", raise_it)
    with one_logged():
        scene.advance(60)
    assert len(scene.records) == 1


def test_the_deadline_of_what_is_said_first(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(preread=lambda _: PrereadSettings(NetworkSet([ip_network("0.0.0.0/0")]), timeout=5.0))
    client = scene.connect()
    monkeypatch.setattr(Preread, "check", raise_it)
    with one_logged():
        scene.advance(20)
    assert (scene.ended, client.saw) == ("internal_error", "reset")


def test_the_end_of_a_pause_of_a_limited_side(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene([ONE], settings={"bandwidth_per_connection": 20_000})
    client, backend = scene.joined()
    monkeypatch.setattr(BandwidthLimiter, "check", raise_it)
    with one_logged():
        client.send(b"x" * 100_000)
        scene.advance(20)
    assert scene.ended == "internal_error"
    assert client.saw == backend.saw == "reset"


def test_the_end_of_a_pause_of_a_dial(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene({ONE: "refuses"}, retries=3)
    client = scene.connect()
    decide = Dial.decide
    monkeypatch.setattr(Dial, "decide", lambda dial: raise_it() if dial._paused else decide(dial))
    with one_logged():
        scene.advance(20)
    assert (scene.ended, client.saw) == ("internal_error", "reset")


def test_the_clock_of_a_place_in_the_queue(make_scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(members=[Backend(ONE, max_connections=1)], queue=5, queue_timeout=30)
    scene.joined()
    waiting = scene.connect()
    scene.run()
    assert waiting.saw == "open"
    monkeypatch.setattr(QueueEntry, "check", raise_it)
    with one_logged():
        scene.advance(60)
    assert [record.reason.word for record in scene.records] == ["internal_error"]
    assert waiting.saw == "reset"
