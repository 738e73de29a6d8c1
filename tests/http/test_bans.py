"""A client that is banned while it has connections open sends no further request on them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address

from support.http_scene import GET, HELLO, HttpScene
from tcpbalance.admission.access import Access
from tcpbalance.admission.banned_networks import network_key
from tcpbalance.admission.clients import group
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.http import banned_clients
from tcpbalance.http.client import HttpClientConnection
from tcpbalance.http.session import HttpSession
from tcpbalance.proxy.preread_settings import PrereadSettings

MakeScene = Callable[..., HttpScene]

CLIENT = IPv4Address("TCP", "198.51.100.7", 4711)
OTHER = IPv4Address("TCP", "198.51.100.8", 4711)
SIX = IPv6Address("TCP", "2001:db8::7", 4711)
UPGRADE = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def admits(**limits: Any) -> Callable[[Callable[[], float]], AdmissionControl]:
    return lambda clock: AdmissionControl(Access(), LimitsConfig(**limits), clock)


def ban(scene: HttpScene, client: Any = CLIENT, bits: int = 32) -> None:
    """Ban a client or its network, as an operator does; connections are looked at a second later at most."""
    packed = ip_network(client.host).network_address.packed
    assert scene.admission is not None
    scene.admission.ban_for(network_key(packed[:4] if bits <= 32 else packed, bits), 600.0)
    scene.advance(1.5)


def test_one_between_two_requests_is_closed(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits())
    client, other = scene.connect(GET, address=CLIENT), scene.connect(GET, address=OTHER)
    for connection in scene.connections:
        scene.send(connection, HELLO)
    ban(scene)
    assert (client.saw, other.saw) == ("fin", "open")
    scene.send(client, GET)
    scene.send(other, GET)
    assert sum(connection.received.count(b"GET / ") for connection in scene.connections) == 3
    assert scene.frontend.stats.snapshot()["ended.refused"] == 1


def test_a_connection_without_a_request_has_a_record_that_says_why(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits())
    client = scene.connect(address=CLIENT)
    ban(scene)
    (record,) = scene.records
    assert (client.saw, record.reason.word, record.cause) == ("fin", "refused", "banned")


def test_the_request_under_way_is_served_and_is_the_last(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits())
    client = scene.connect(GET, address=CLIENT)
    ban(scene)
    scene.send(scene.connection, HELLO)
    assert b"Connection: close\r\n" in client.received
    assert (client.received[-5:], client.saw, scene.ends) == (b"hello", "fin", ["answered 200"])


def test_a_response_that_had_begun_is_the_last(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits())
    client = scene.connect(GET, address=CLIENT)
    scene.send(scene.connection, HELLO[:-2])
    ban(scene)
    scene.send(scene.connection, HELLO[-2:])
    assert (client.received[-5:], client.saw, scene.ends) == (b"hello", "fin", ["answered 200"])


def test_a_head_that_is_coming_comes_to_nothing(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits())
    client = scene.connect(GET[:10], address=CLIENT)
    ban(scene)
    assert client.saw == "fin"
    scene.send(client, GET[10:])
    assert (scene.connections, scene.requests) == ([], [])


def test_what_has_become_another_protocol_goes_on_as_in_mode_tcp(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits())
    client = scene.connect(UPGRADE, address=CLIENT)
    scene.send(scene.connection, SWITCH)
    ban(scene)
    scene.send(scene.connection, b"news")
    assert (client.received[-4:], client.saw) == (b"news", "open")


@pytest.mark.parametrize(("bits", "saw"), [(64, "fin"), (48, "fin")])
def test_a_network_is_banned_whole(make_scene: MakeScene, bits: int, saw: str) -> None:
    scene = make_scene(admission=admits())
    clients = [scene.connect(address=address) for address in (SIX, CLIENT)]
    ban(scene, SIX, bits)
    assert [client.saw for client in clients] == [saw, "open"]


def test_a_ban_by_limits_counts_as_well(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits(connections_per_client=2, ban_after=3, ban_for=60.0))
    clients = [scene.connect(GET, address=CLIENT) for _ in range(5)]
    scene.advance(1.5)
    for connection in scene.connections:
        scene.send(connection, HELLO)
    scene.clients[2:] = []
    assert [client.saw for client in clients[:2]] == ["fin", "fin"]


def test_nothing_happens_in_a_dry_run(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits(connections_per_client=1, ban_after=1, dry_run=True))
    clients = [scene.connect(address=CLIENT) for _ in range(3)]
    scene.advance(1.5)
    assert [client.saw for client in clients] == ["open"] * 3


def test_a_ban_of_another_process_counts(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits(connections_per_client=5))
    client = scene.connect(address=CLIENT)
    assert scene.admission is not None
    key = group(ip_network(CLIENT.host).network_address.packed)
    scene.admission.ban(key, scene.network.clock.seconds() + 60.0)
    scene.advance(1.5)
    assert client.saw == "fin"


def test_it_is_the_client_that_a_proxy_header_names(make_scene: MakeScene) -> None:
    proxies = PrereadSettings(proxies=NetworkSet([ip_network(CLIENT.host)]))
    scene = make_scene(admission=admits(), preread=proxies)
    lines = [b"PROXY TCP4 203.0.113.%d 192.0.2.1 5 80\r\n" % host for host in (1, 2)]
    clients = [scene.connect(line, address=CLIENT) for line in lines]
    silent = scene.connect(address=CLIENT)
    ban(scene, IPv4Address("TCP", "203.0.113.1", 5))
    assert [client.saw for client in (*clients, silent)] == ["fin", "open", "open"]
    # The proxy's own address is none that is admitted.
    ban(scene, CLIENT)
    assert silent.saw == "open"


def test_all_connections_are_looked_at_however_many_there_are(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banned_clients, "LOOKS_A_TURN", 3)
    scene = make_scene(admission=admits())
    clients = [scene.connect(address=address) for address in (CLIENT, OTHER) for _ in range(10)]
    ban(scene)
    assert [client.saw for client in clients] == ["fin"] * 10 + ["open"] * 10
    ban(scene, OTHER)
    assert [client.saw for client in clients] == ["fin"] * 20


def test_a_flood_of_bans_leads_to_a_look_a_second(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    class Counting(HttpSession):
        def end_if_banned(self, is_banned: Callable[[bytes | None], bool]) -> None:
            looks.append(self)
            super().end_if_banned(is_banned)

    monkeypatch.setattr(HttpClientConnection, "session_kind", Counting)
    scene = make_scene(admission=admits())
    client = scene.connect(address=CLIENT)
    assert scene.admission is not None
    for host in range(100):
        scene.admission.ban_for(network_key(bytes((203, 0, 113, host)), 32), 600.0)
        scene.advance(0.02)
    assert 1 <= len(looks) <= 4
    ban(scene)
    assert client.saw == "fin"


def test_a_ban_that_is_over_says_nothing(make_scene: MakeScene) -> None:
    scene = make_scene(admission=admits())
    assert scene.admission is not None
    scene.admission.ban_for(network_key(bytes((198, 51, 100, 7)), 32), 5.0)
    scene.advance(6.0)
    client = scene.connect(address=CLIENT)
    ban(scene, OTHER)
    assert client.saw == "open"
