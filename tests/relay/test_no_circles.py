"""A session that has ended leaves nothing for the garbage collector: at thousands a second, looking for what
hangs together in a circle costs more than all else that is done for a session."""

from __future__ import annotations

import gc
from ipaddress import ip_network
from typing import Any

import pytest

from support.scene import ONE, RETRY_ON_RESET, TWO
from tcpbalance.gate.networks import NetworkSet
from tcpbalance.proxy.arrival import Arrival
from tcpbalance.proxy.backend import BackendProtocol
from tcpbalance.proxy.brake import Brake, TriedBrake
from tcpbalance.proxy.deadlines import Deadlines
from tcpbalance.proxy.frontend import FrontendProtocol
from tcpbalance.proxy.preread import Entrance
from tcpbalance.proxy.session import Session

BACKENDS = {"nobody_accepts": "refuses", "second_try": "resets_at_once"}
"""What becomes of the dial in these plays."""

KINDS = (Session, Arrival, FrontendProtocol, BackendProtocol, Deadlines, Brake, TriedBrake)


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
        entrance=(lambda _: Entrance(NetworkSet([ip_network("198.51.100.0/24")]))) if header else None,
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
