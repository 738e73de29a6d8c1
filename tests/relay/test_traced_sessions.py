"""The connections of certain clients are logged step by step; they go as all others do."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from support.scene import ONE, TWO
from support.traces import steps, texts
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.traced_session import TracedSession
from tcpbalance.wire.proxy_protocol import InetAddress, encode_v2

CLIENT = "198.51.100.7"
"""Where the clients of a scene connect from."""

NAMED = "203.0.113.9"
HEADER = encode_v2(InetAddress(NAMED, 1000), InetAddress("192.0.2.1", 443))


def test_each_step_of_a_connection(make_scene: Any) -> None:
    scene = make_scene([ONE])
    with steps(scene, f"{CLIENT}/32") as found:
        client = scene.connect(early=b"secret")
        scene.run()
        (backend,) = scene.backends[ONE].connections
        scene.advance(2)
        backend.send(b"answer")
        scene.run()
        client.finish()
        scene.run()
        backend.finish()
        scene.run()
    assert client.received == b"answer"
    # These come at another time, or not at all, on other data paths.
    elsewhere = ("connected from", "all bytes and their end have gone out to the client")
    heard = [step for step in texts(found) if not step.startswith(elsewhere)]
    assert heard == [
        "accepted at ADDRESS",
        "pool pool",
        f"tries backend {ONE}",
        "first byte from the client",
        "first byte from the backend",
        "the client has finished sending, after 6 bytes",
        "all bytes and their end have gone out to the backend",
        "the backend has finished sending, after 6 bytes",
        "ends: client_closed",
        "over: 6 bytes from the client, 6 bytes from the backend",
    ]
    assert (2, "first byte from the backend") in found
    assert "secret" not in str(found)


def test_other_clients_are_not_logged(make_scene: Any) -> None:
    scene = make_scene([ONE])
    with steps(scene, "198.51.100.8/32") as found:
        scene.connect(early=b"x")
        scene.run()
    assert found == []
    assert not any(isinstance(session, TracedSession) for session in scene.frontend.registry.sessions)


def test_why_attempts_fail_and_that_it_waits(make_scene: Any) -> None:
    scene = make_scene(
        [ONE, TWO], members=[Backend(ONE), Backend(TWO, max_connections=1)], queue=1, retries=1
    )
    scene.backends[ONE].behaviour = "refuses"
    held = scene.pool.take(scene.pool.backends[1], None)
    with steps(scene, CLIENT) as found:
        scene.connect()
        scene.run()
        scene.advance(0.5)
        held.release()
        scene.run()
    heard = [step.partition(" after")[0] for step in texts(found)]
    assert heard[2:7] == [
        f"tries backend {ONE}",
        f"backend {ONE}: refused",
        "waits in the queue",
        "leaves the queue",
        f"tries backend {TWO}",
    ]


def refuses(*networks: str) -> Callable[[Callable[[], float]], AdmissionControl]:
    deny = NetworkSet(map(ip_network, networks))
    return lambda clock: AdmissionControl(Access(deny=deny), LimitsConfig(), clock)


def test_one_that_is_refused(make_scene: Any) -> None:
    scene = make_scene(admission=refuses(CLIENT))
    with steps(scene, CLIENT) as found:
        scene.turned_away()
    assert texts(found) == ["refused: denied, its address lies in a network of deny or deny_file"]


def test_one_that_is_admitted(make_scene: Any) -> None:
    scene = make_scene(admission=refuses("192.0.2.0/24"))
    with steps(scene, CLIENT) as found:
        scene.connect()
    assert texts(found)[:2] == ["accepted at ADDRESS", "admitted"]


def behind_proxies(_: Any) -> PrereadSettings:
    return PrereadSettings(NetworkSet([ip_network(CLIENT)]))


def test_one_that_a_proxy_names(make_scene: Any) -> None:
    scene = make_scene(preread=behind_proxies, admission=refuses("192.0.2.0/24"))
    with steps(scene, NAMED) as found:
        scene.connect(early=HEADER)
        scene.run()
    heard = texts(found)
    assert heard[:2] == ["accepted at ADDRESS", "waits for a PROXY header"]
    assert heard[2].startswith(f"the PROXY header of {CLIENT}:")
    assert heard[2].endswith(f" names {NAMED}:1000")
    assert heard[3:5] == ["admitted", "pool pool"]


def test_another_one_that_a_proxy_names(make_scene: Any) -> None:
    scene = make_scene(preread=behind_proxies)
    with steps(scene, "203.0.113.10") as found:
        client = scene.connect(early=HEADER + b"x")
        scene.run()
        client.reset()
        scene.run()
    assert found == []


def test_a_proxy_itself(make_scene: Any) -> None:
    scene = make_scene(preread=behind_proxies)
    with steps(scene, CLIENT) as found:
        scene.connect(early=b"GET / HTTP/1.1\r\n\r\n")
        scene.run()
    heard = texts(found)
    assert heard[1] == "waits for a PROXY header"
    assert heard[2].startswith("ends: bad_proxy_header")


def test_one_that_a_proxy_names_and_that_is_refused(make_scene: Any) -> None:
    scene = make_scene(preread=behind_proxies, admission=refuses(NAMED))
    with steps(scene, NAMED) as found:
        scene.connect(early=HEADER)
        scene.run()
    assert "ends: refused, denied" in texts(found)


def test_who_is_logged_may_change_at_any_time(make_scene: Any) -> None:
    scene = make_scene([ONE])
    with steps(scene, CLIENT) as found:
        scene.connect(address=IPv4Address("TCP", CLIENT, 1))
        scene.frontend.context.debug.replace([])
        scene.connect(address=IPv4Address("TCP", CLIENT, 2))
        scene.run()
    assert len([step for step in texts(found) if step.startswith("accepted")]) == 1


@pytest.mark.parametrize("size", [70_000, 700_000])
def test_a_long_upload_before_the_answer(make_scene: Any, size: int) -> None:
    scene = make_scene([ONE])
    with steps(scene, CLIENT) as found:
        client = scene.connect()
        scene.run()
        client.send(b"x" * size)
        scene.run()
        (backend,) = scene.backends[ONE].connections
        assert len(backend.received) == size
        backend.send(b"y" * size)
        client.finish()
        backend.finish()
        scene.run()
    assert len(client.received) == size
    assert "first byte from the backend" in texts(found)
