"""A session that has ended leaves nothing for the garbage collector: at thousands a second, looking for what
hangs together in a circle costs more than all else that is done for a session."""

from __future__ import annotations

import gc
from ipaddress import ip_network
from typing import Any

import pytest

from support.scene import ONE, RETRY_ON_RESET, TWO
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.net.pump import Pump
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.bandwidth_limiter import BandwidthLimiter, DryRunBandwidthLimiter
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.delivery import Delivery
from tcpbalance.proxy.dial import Dial
from tcpbalance.proxy.dialler import BackendConnection, Dialler
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.queue_entry import PauseTimer, QueueEntry
from tcpbalance.proxy.replay_buffer import ReplayBuffer
from tcpbalance.proxy.session import Session

BACKENDS = {"nobody_accepts": "refuses", "second_try": "resets_at_once"}
"""What becomes of the dial in these plays."""

KINDS = (
    Session,
    Preread,
    ReplayBuffer,
    ClientConnection,
    BackendConnection,
    Deadlines,
    BandwidthLimiter,
    DryRunBandwidthLimiter,
    Dial,
    Dialler,
    PauseTimer,
    QueueEntry,
    Delivery,
    Pump,
)


def left_over() -> list[object]:
    return [thing for thing in gc.get_objects() if isinstance(thing, KINDS)]


@pytest.mark.parametrize("how", ["client_closes", "backend_resets", "nobody_accepts", "second_try"])
@pytest.mark.parametrize("header", [b"", b"PROXY UNKNOWN\r\n"], ids=["plain", "preread"])
@pytest.mark.parametrize(("rate", "dry_run"), [(None, False), (10, False), (10, True)])
def test_an_ended_session_is_gone_at_once(
    make_scene: Any, how: str, header: bytes, rate: int | None, dry_run: bool
) -> None:
    scene = make_scene(
        {ONE: BACKENDS.get(how, "accepts"), **({TWO: "accepts"} if how == "second_try" else {})},
        settings={"bandwidth_per_connection": rate, "dry_run": dry_run},
        preread=(lambda _: PrereadSettings(NetworkSet([ip_network("198.51.100.0/24")]))) if header else None,
        **RETRY_ON_RESET,
    )
    before = len(left_over())
    gc.collect()
    gc.disable()
    try:
        client = scene.connect(early=header + b"hello")
        scene.advance(10)
        if how == "client_closes":
            scene.backends[ONE].connection.send(b"answer")
            client.finish()
            scene.run()
            scene.backends[ONE].connection.finish()
        elif how == "second_try":
            client.reset()
        elif how == "backend_resets":
            scene.backends[ONE].connection.send(b"answer")
            scene.run()
            scene.backends[ONE].connection.reset()
        scene.advance(2)
        assert len(scene.records) == 1
        scene.network.transports.clear()  # the memory network keeps every transport that there ever was
        assert len(left_over()) <= before
    finally:
        gc.enable()


@pytest.mark.parametrize("how", ["dial_timeout", "left", "queue_timeout"])
def test_one_that_had_to_wait_is_gone_at_once(make_scene: Any, how: str) -> None:
    scene = make_scene(
        {ONE: "accepts" if how == "queue_timeout" else "hangs"},
        members=[Backend(ONE, max_connections=1)],
        queue=1,
        queue_timeout=1.0,
        connect_timeout=3.0,
        dial_timeout=4.0,
    )
    before = len(left_over())
    gc.collect()
    gc.disable()
    try:
        client = scene.connect(early=b"" if how == "left" else b"hello")
        scene.run()
        if how == "left":
            client.finish()
        elif how == "queue_timeout":
            scene.connect(early=b"hello")
            scene.advance(5)
            client.reset()
        scene.advance(20)
        assert_nothing_left(scene, before)
    finally:
        gc.enable()


@pytest.mark.parametrize("given_up", [False, True])
def test_one_that_had_last_bytes_to_deliver_is_gone_at_once(make_scene: Any, given_up: bool) -> None:
    scene = make_scene(network={"send_buffer": 32_000, "receive_buffer": 32_000})
    before = len(left_over())
    gc.collect()
    gc.disable()
    try:
        client, backend = scene.joined(early=b"hello")
        for peer in (backend, client, backend, client):
            peer.send(b"more")
            scene.run()
        client.stop_reading()
        backend.send(bytes(60_000))
        scene.run()
        backend.reset()
        scene.advance(1)
        assert scene.records == []
        if not given_up:
            client.start_reading()
        scene.advance(100)
        assert_nothing_left(scene, before)
    finally:
        gc.enable()


def assert_nothing_left(scene: Any, before: int) -> None:
    """All have ended, and what they were made of has gone."""
    assert len(scene.records) == len(scene.clients)
    scene.network.transports.clear()
    assert scene.network.dialled == []  # by which it forgets those that are over
    assert len(left_over()) <= before
