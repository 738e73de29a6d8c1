"""The connections and requests of certain clients are logged step by step; they go as all others do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene, only_for
from support.traces import steps, texts
from tcpbalance.config.destinations import Destination
from tcpbalance.http.connect.destinations import Destinations
from tcpbalance.http.connect.settings import ConnectSettings
from tcpbalance.http.routes import Route
from tcpbalance.http.traced_session import TracedHttpSession
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.wire.proxy_protocol import InetAddress, encode_v2

MakeScene = Callable[..., HttpScene]

CLIENT, NAMED = "198.51.100.7", "203.0.113.9"
HEADER = encode_v2(InetAddress(NAMED, 1000), InetAddress("192.0.2.1", 443))
ASKS = (
    b"GET /shop/item?token=secret HTTP/1.1\r\nHost: www.example.com\r\n"
    b"Cookie: secret\r\nAuthorization: Basic secret\r\n\r\n"
)


def arrive(scene: HttpScene, data: bytes = b"") -> Any:
    return scene.connect(data, address=IPv4Address("TCP", CLIENT, 1000))


def heard(found: list[tuple[float, str]]) -> list[str]:
    """Give the steps without times in them."""
    return [step.partition(" in 0.")[0].partition(" after 0.")[0] for step in texts(found)]


def test_each_step_of_two_requests(make_scene: MakeScene) -> None:
    routes = [(only_for(paths=["/shop/*"]), "shop")]
    scene = make_scene(routes=lambda pool: [(config, Route(name=name, pool=pool)) for config, name in routes])
    with steps(scene, CLIENT) as found:
        client = arrive(scene, ASKS)
        scene.advance(2.0)
        scene.send(scene.connection, HELLO.replace(b"hello", b"hidde"))
        scene.send(client, GET)
        scene.send(scene.connection, HELLO)
        client.finish()
        scene.run()
    assert client.received.count(b"HTTP/1.1 200 OK") == 2
    size = len(HELLO)
    assert heard(found) == [
        "accepted at ADDRESS",
        f"request GET www.example.com /shop/item?..., with a head of {len(ASKS)} bytes",
        "route shop",
        "pool pool",
        f"tries backend {ONE}",
        "connected from ADDRESS",
        f"sends it to backend {ONE}",
        "first byte from the backend",
        "ends: answered, status 200",
        f"over: {len(ASKS)} bytes from the client, {size} bytes from the backend",
        "waits for the next request",
        f"request GET www.example.com /, with a head of {len(GET)} bytes",
        "pool pool",
        f"sends it to backend {ONE}, whose connection has served 1 before",
        "first byte from the backend",
        "ends: answered, status 200",
        f"over: {len(GET)} bytes from the client, {size} bytes from the backend",
        "waits for the next request",
        "the client has finished sending",
        "the connection is closed: client_closed",
    ]
    assert any(after == 2.0 for after, step in found if step == "first byte from the backend")
    assert "secret" not in str(found)
    assert "hidde" not in str(found)


def test_other_clients_are_not_logged(make_scene: MakeScene) -> None:
    scene = make_scene()
    with steps(scene, "198.51.100.8/32") as found:
        arrive(scene, GET)
    assert found == []
    assert not any(isinstance(session, TracedHttpSession) for session in scene.frontend.registry.sessions)


def test_a_body_and_a_long_response(make_scene: MakeScene) -> None:
    scene = make_scene()
    with steps(scene, CLIENT) as found:
        client = arrive(scene, b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi")
        scene.send(client, b"de")
        scene.send(scene.connection, b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n")
        scene.send(scene.connection, b"hide")
    steps_of_it = heard(found)
    assert "the request has come whole, with a body of 4 bytes" in steps_of_it
    assert "passes on a response with status 201" in steps_of_it
    assert "hide" not in str(found)


def test_attempts_that_fail_and_the_queue(make_scene: MakeScene) -> None:
    scene = make_scene(
        [ONE, TWO], members=[Backend(ONE), Backend(TWO, max_connections=1)], queue=1, retries=1
    )
    scene.backends[ONE].behaviour = "refuses"
    held = scene.pool.take(scene.pool.backends[1], None)
    with steps(scene, CLIENT) as found:
        arrive(scene, GET)
        scene.advance(0.5)
        held.release()
        scene.run()
    assert heard(found)[2:8] == [
        "pool pool",
        f"tries backend {ONE}",
        f"backend {ONE}: refused",
        "waits in the queue",
        "leaves the queue",
        f"tries backend {TWO}",
    ]


@pytest.mark.parametrize(
    ("data", "step", "end"),
    [
        (
            b"nonsense\r\n\r\n",
            "no request can be read in 12 bytes",
            "ends: bad_request, status 400, bad_head",
        ),
        (
            b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            "request TRACE a /, with a head of 29 bytes",
            "ends: bad_request, status 405, method",
        ),
    ],
)
def test_what_is_answered_here(make_scene: MakeScene, data: bytes, step: str, end: str) -> None:
    scene = make_scene()
    with steps(scene, CLIENT) as found:
        arrive(scene, data)
    assert heard(found)[1:3] == [step, end]


def test_a_backend_that_breaks(make_scene: MakeScene) -> None:
    scene = make_scene()
    with steps(scene, CLIENT) as found:
        arrive(scene, GET.replace(b"GET", b"POST"))
        scene.connection.reset()
        scene.run()
    assert any(step.startswith("the connection of the backend has failed") for step in heard(found))
    assert "ends: backend_reset, status 502, reset" in heard(found)


def test_one_that_a_proxy_names(make_scene: MakeScene) -> None:
    from ipaddress import ip_network

    from tcpbalance.admission.networks import NetworkSet

    scene = make_scene(preread=PrereadSettings(NetworkSet([ip_network(CLIENT)])))
    with steps(scene, NAMED) as found:
        arrive(scene, HEADER + GET)
    assert heard(found)[:2] == ["accepted at ADDRESS", "waits for a PROXY header"]
    assert heard(found)[2].endswith(f" names {NAMED}:1000")
    assert heard(found)[3].startswith("request GET www.example.com /")
    with steps(scene, "192.0.2.99") as found:
        arrive(scene, HEADER + GET)
    assert found == []


def test_a_change_of_protocol_and_its_end(make_scene: MakeScene) -> None:
    scene = make_scene()
    with steps(scene, CLIENT) as found:
        asks = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        client = arrive(scene, asks)
        changes = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        scene.send(scene.connection, changes + b"hide")
        client.reset()
        scene.run()
    assert heard(found)[-3:] == [
        "the backend changes to another protocol",
        "ends: client_reset",
        f"over: {len(asks)} bytes from the client, {len(changes) + 4} bytes from the backend",
    ]


def test_a_tunnel(make_scene: MakeScene) -> None:
    to = "10.0.9.9:5432"
    destinations = Destinations([Destination.parse(to)], is_own=lambda ip: False)
    scene = make_scene(http={"connect": ConnectSettings(destinations)})
    scene.network.backend(to)
    with steps(scene, CLIENT) as found:
        client = arrive(scene, b"CONNECT %b HTTP/1.1\r\nHost: a\r\n\r\n" % to.encode())
        client.reset()
        scene.run()
        arrive(scene, b"CONNECT %b HTTP/1.1\r\nHost: a\r\n\r\n" % to.replace("5432", "22").encode())
    assert "connected from ADDRESS" in heard(found)
    assert "ends: client_reset" in heard(found)
    assert "gets no tunnel: destination_not_allowed" in heard(found)
    assert "ends: tunnel_refused, status 403, destination_not_allowed" in heard(found)
