"""A request that has ended leaves nothing for the garbage collector, and neither does its connection."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene
from tcpbalance.config.destinations import Destination
from tcpbalance.http.carried_body import CarriedBody
from tcpbalance.http.client_side import HttpClient
from tcpbalance.http.connect.destinations import Destinations
from tcpbalance.http.connect.opening import TunnelOpening
from tcpbalance.http.connect.settings import ConnectSettings
from tcpbalance.http.dialling import HttpDialler
from tcpbalance.http.exchange import Exchange
from tcpbalance.http.response import Response
from tcpbalance.http.session import HttpSession
from tcpbalance.http.tunnel import Tunnel
from tcpbalance.http.upload import Upload
from tcpbalance.http.upstream import BackendHttpConnection
from tcpbalance.net.bounded_pump import BoundedPump

MakeScene = Callable[..., HttpScene]

KINDS = (
    HttpSession,
    Exchange,
    Response,
    HttpClient,
    BackendHttpConnection,
    HttpDialler,
    Tunnel,
    TunnelOpening,
    Upload,
    BoundedPump,
    CarriedBody,
)

CONNECT = b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: a\r\n\r\nearly"
CONNECTS = ConnectSettings(Destinations([Destination.parse("10.0.0.1:80")], is_own=lambda ip: False))

SIZE = 400_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"a" * SIZE
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE + b"a" * SIZE
ASKS = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
CHANGES = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def left_over() -> list[object]:
    return [thing for thing in gc.get_objects() if isinstance(thing, KINDS)]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (CONNECT, HELLO),
        (GET, HELLO),
        (GET, ANSWER),
        (POST, HELLO),
        (ASKS, CHANGES),
        (GET, b"HTTP/9"),
        (b"\0", b""),
    ],
)
@pytest.mark.parametrize("first", ["accepts", "refuses"])
def test_what_has_ended_is_gone_at_once(
    make_scene: MakeScene, request_: bytes, answer: bytes, first: str
) -> None:
    scene = make_scene({ONE: first, TWO: "accepts"}, http={"connect": CONNECTS})
    gc.collect()
    gc.disable()
    try:
        client = scene.connect(request_)
        for connection in scene.connections:
            scene.send(connection, answer)
            connection.finish()
        scene.run()
        client.finish()
        scene.run()
        for connection in scene.connections:
            connection.reset()
        client.reset()
        scene.run()
        assert len(scene.records) == 1
        scene.network.transports.clear()  # the memory network keeps every transport that there ever was
        assert left_over() == []
    finally:
        gc.enable()
