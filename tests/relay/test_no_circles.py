"""A session that has ended leaves nothing for the garbage collector: at thousands a second, looking for what
hangs together in a circle costs more than all else that is done for a session."""

from __future__ import annotations

import gc
from ipaddress import ip_network
from typing import Any

import pytest

from tcpbalance.gate.networks import NetworkSet
from tcpbalance.proxy.arrival import Arrival
from tcpbalance.proxy.frontend import FrontendProtocol
from tcpbalance.proxy.preread import Entrance
from tcpbalance.proxy.session import Session

KINDS = (Session, Arrival, FrontendProtocol)


def left_over() -> list[object]:
    return [thing for thing in gc.get_objects() if isinstance(thing, KINDS)]


@pytest.mark.parametrize("how", ["client_closes", "backend_resets", "nobody_accepts"])
@pytest.mark.parametrize("header", [b"", b"PROXY UNKNOWN\r\n"], ids=["plain", "preread"])
def test_an_ended_session_is_gone_at_once(make_scene: Any, how: str, header: bytes) -> None:
    scene = make_scene(
        {"10.0.0.1:80": "refuses" if how == "nobody_accepts" else "accepts"},
        entrance=(lambda _: Entrance(NetworkSet([ip_network("198.51.100.0/24")]))) if header else None,
    )
    before = len(left_over())
    gc.collect()
    gc.disable()
    try:
        client = scene.connect(early=header + b"hello")
        scene.advance(10)
        if how == "client_closes":
            scene.backends["10.0.0.1:80"].connection.send(b"answer")
            client.finish()
            scene.run()
            scene.backends["10.0.0.1:80"].connection.finish()
        elif how == "backend_resets":
            scene.backends["10.0.0.1:80"].connection.send(b"answer")
            scene.run()
            scene.backends["10.0.0.1:80"].connection.reset()
        scene.run()
        assert len(scene.records) == 1
        scene.network.transports.clear()  # the memory network keeps every transport that there ever was
        assert len(left_over()) <= before
    finally:
        gc.enable()
