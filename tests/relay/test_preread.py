"""What a client has to say before a backend is chosen: PROXY headers and ClientHellos, in any pieces."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from support.hellos import hello, server_name
from support.proxy_headers import SOURCE, tlv, v2_header
from support.scene import ONE, RETRY_ON_RESET, TWO, CopyingScene, Scene
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.errors import SettingError
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.ending import SESSIONS_A_TURN
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.proxy_protocol import (
    InetAddress,
    ProxyHeader,
    Tlv,
    encode_v1,
    encode_v2,
    encode_v2_local,
    read_header,
)
from tcpbalance.wire.server_names import NameMap

PEERS = "198.51.100.0/24"
"""Where the clients of a scene connect from."""

CLIENT = InetAddress("203.0.113.9", 51111)
SERVICE = InetAddress("192.0.2.1", 443)
V1 = encode_v1(CLIENT, SERVICE)
V2 = encode_v2(CLIENT, SERVICE, [Tlv(0x02, b"www.example.com"), Tlv(0xE4, b"mine")])
ASKS = hello(server_name("api.example.com"))
TIMEOUT = 5.0


def from_proxies(network: str = PEERS) -> Callable[[Pool], PrereadSettings]:
    return lambda _: PrereadSettings(NetworkSet([ip_network(network)]), timeout=TIMEOUT)


def by_name(*names: str) -> Callable[[Pool], PrereadSettings]:
    return lambda pool: PrereadSettings(
        routes=NameMap([(name, pool) for name in names], deep=True), timeout=TIMEOUT
    )


def in_pieces(scene: Any, client: Any, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        client.send(data[start : start + size])
        scene.run()


def opened_with(received: bytes) -> tuple[ProxyHeader, bytes]:
    """The header that a backend was sent first, and what came behind it."""
    found = read_header(received)
    assert found is not None
    header, size = found
    return header, received[size:]


# PROXY headers


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_listed_peer_speaks_for_the_client(make_scene: Any, header: bytes, size: int) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect()
    in_pieces(scene, client, header + b"question", size)
    backend = scene.backends[ONE].connection
    assert backend.received == b"question"
    backend.send(b"answer")
    backend.finish()
    client.finish()
    scene.run()
    assert client.received == b"answer"
    record = scene.record
    assert (record.client, record.proxy) == ("203.0.113.9:51111", "198.51.100.7:40000")
    assert (record.client_bytes, record.backend_bytes) == (len(b"question"), len(b"answer"))


def test_a_server_that_speaks_first_is_dialled_as_soon_as_the_header_is_there(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect()
    scene.run()
    assert scene.backends[ONE].connections == []
    client.send(V1)
    scene.run()
    scene.backends[ONE].connection.send(b"hello from the server")
    scene.run()
    assert client.received == b"hello from the server"


def test_a_peer_that_is_not_listed_is_served_as_it_is(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies("10.0.0.0/8"))
    client, backend = scene.joined()
    client.send(V1)
    scene.run()
    assert backend.received == V1
    client.reset()
    scene.run()
    assert (scene.record.client, scene.record.proxy) == ("198.51.100.7:40000", None)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", encode_v2_local()], ids=["unknown", "local"])
def test_a_proxy_that_speaks_for_itself(make_scene: Any, header: bytes) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect(early=header + b"check")
    scene.run()
    assert scene.backends[ONE].connection.received == b"check"
    client.reset()
    scene.run()
    assert (scene.record.client, scene.record.proxy) == ("198.51.100.7:40000", None)


def test_affinity_goes_by_the_address_in_the_header(make_scene: Any) -> None:
    scene = make_scene((ONE, TWO), preread=from_proxies(), affinity=AffinityConfig(ttl=60))
    headers = [encode_v1(InetAddress(host, 1000), SERVICE) for host in ("203.0.113.1", "203.0.113.2")]
    for header in [*headers, *reversed(headers)]:
        scene.connect(early=header)
        scene.run()
    assert [len(scene.backends[address].connections) for address in (ONE, TWO)] == [2, 2]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", V2[:-1] + b"?", b"PROXY TCP4 1.2.3.4"])
def test_a_listed_peer_without_a_sound_header_is_reset(make_scene: Any, data: bytes) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect(early=data + bytes(100))
    scene.run()
    assert (client.saw, scene.ended) == ("reset", "bad_proxy_header")
    assert scene.record.cause
    assert scene.backends[ONE].connections == []


# ClientHellos


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_name_leads_to_its_pool_and_the_hello_goes_on_as_it_is(make_scene: Any, size: int) -> None:
    scene = make_scene(preread=by_name("*.example.com"), has_default=False)
    client = scene.connect()
    in_pieces(scene, client, ASKS + b"more", size)
    assert scene.backends[ONE].connection.received == ASKS + b"more"
    client.reset()
    scene.run()
    assert (scene.record.server_name, scene.record.client_bytes) == ("api.example.com", len(ASKS + b"more"))


@pytest.mark.parametrize(
    "data",
    [ASKS, hello(), b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x00"],
    ids=["other", "none", "ssh", "bad"],
)
def test_who_has_no_route_goes_to_the_default_pool(make_scene: Any, data: bytes) -> None:
    scene = make_scene(preread=by_name("www.example.com"))
    scene.connect(early=data)
    scene.run()
    assert scene.backends[ONE].connection.received == data


@pytest.mark.parametrize("data", [ASKS, hello(), b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["other", "none", "ssh"])
def test_who_has_no_route_is_closed_where_there_is_no_default(make_scene: Any, data: bytes) -> None:
    scene = make_scene(preread=by_name("www.example.com"), has_default=False)
    client = scene.connect(early=data)
    scene.run()
    assert (client.saw, client.received, scene.ended) == ("fin", b"", "no_route")
    assert scene.record.client_bytes == len(data)
    assert scene.backends[ONE].connections == []


def test_a_header_and_a_hello_in_one_byte_pieces(make_scene: Any) -> None:
    scene = make_scene(
        preread=lambda pool: PrereadSettings(
            NetworkSet([ip_network(PEERS)]), NameMap([("api.example.com", pool)], deep=True), TIMEOUT
        ),
        has_default=False,
    )
    client = scene.connect()
    in_pieces(scene, client, V2 + ASKS, 1)
    assert scene.backends[ONE].connection.received == ASKS
    client.reset()
    scene.run()
    assert (scene.record.client, scene.record.server_name) == ("203.0.113.9:51111", "api.example.com")


# Ends before all is said


@pytest.mark.parametrize(
    ("preread", "said"),
    [
        (from_proxies(), b""),
        (from_proxies(), V1[:20]),
        (by_name("a.example"), b""),
        (by_name("a.example"), ASKS[:-1]),
    ],
)
def test_who_does_not_say_it_in_time_is_closed(make_scene: Any, preread: Any, said: bytes) -> None:
    scene = make_scene(preread=preread)
    client = scene.connect(early=said)
    scene.advance(TIMEOUT - 0.1)
    assert (client.saw, scene.records) == ("open", [])
    scene.advance(1.1)
    assert (client.saw in {"fin", "reset"}, scene.ended) == (True, "preread_timeout")


@pytest.mark.parametrize("reads", [True, False])
def test_a_client_that_does_not_take_its_orderly_close_is_reset(make_scene: Any, reads: bool) -> None:
    """It speaks TLS by an endpoint of somebody else's, and never answers our close_notify."""
    scene = make_scene(preread=from_proxies(), settings={"half_close_timeout": 10.0})
    client = scene.connect(tls=True, early=V1[:20])
    client.answers = False
    scene.run()
    if not reads:
        client.stop_reading()
    scene.advance(TIMEOUT + 9)
    assert not client.socket.was_reset
    assert scene.records == []
    assert len(scene.frontend.registry.sessions) == 1
    scene.advance(3)
    assert client.socket.was_reset
    assert (scene.ended, scene.frontend.registry.sessions) == ("preread_timeout", set())


def test_many_that_say_nothing_leave_the_others_unharmed(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies())
    for _ in range(100):
        scene.connect()
    client = scene.connect(early=V1 + b"question")
    scene.run()
    assert scene.backends[ONE].connection.received == b"question"
    scene.advance(TIMEOUT + 1)
    assert [record.reason.word for record in scene.records] == ["preread_timeout"] * 100
    assert client.saw == "open"


def test_a_client_that_leaves_before(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect(early=V1[:10])
    client.finish()
    scene.run()
    assert (client.saw, scene.ended) == ("fin", "client_closed")


def test_a_client_that_breaks_off_before(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect(early=V1[:10])
    scene.run()
    client.reset()
    scene.run()
    assert (scene.ended, scene.record.client_bytes) == ("client_reset", 10)


def test_an_age_is_counted_from_the_accept(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies(), settings={"max_connection_age": 5.0})
    client = scene.connect(early=V1[:5])
    scene.advance(4)
    client.send(V1[5:])
    scene.run()
    scene.advance(3.5)
    assert scene.ended == "max_connection_age"


def test_a_shutdown_ends_who_has_not_said_it_yet(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect(early=V1[:5])
    scene.run()
    idle = scene.frontend.registry.when_idle()
    scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)
    scene.run()
    assert (client.saw, scene.ended, idle.called) == ("reset", "shutdown", True)


def test_a_shutdown_of_many_ends_who_has_said_it_meanwhile(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies())
    for _ in range(SESSIONS_A_TURN + 1):
        scene.connect(early=V1[:5])
    scene.run()
    scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)
    (last,) = [session for session in scene.frontend.registry.sessions if not session.ending]
    last.client.dataReceived(V1[5:])
    assert last.dials
    scene.advance(1)
    assert [record.reason.word for record in scene.records] == ["shutdown"] * (SESSIONS_A_TURN + 1)


@pytest.mark.parametrize("reason", [EndReason.OVERLOAD, EndReason.SHUTDOWN])
def test_who_does_not_take_its_orderly_close_can_be_ended(make_scene: Any, reason: EndReason) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect(tls=True, early=V1[:20])
    client.answers = False
    scene.advance(TIMEOUT + 2)
    assert (scene.decided, scene.records, client.socket.was_reset) == (True, [], False)
    scene.frontend.registry.end_sessions(reason)
    scene.run()
    assert (scene.ended, client.socket.was_reset) == ("preread_timeout", True)


@pytest.mark.parametrize("carrier", [Scene, CopyingScene])
def test_an_error_of_ours_is_not_put_down_to_the_client(
    carrier: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError("a flaw of ours")

    monkeypatch.setattr(Preread, "feed", fail)
    scene = carrier(preread=from_proxies())
    scene.connect(early=V1)
    scene.run()
    assert scene.ended == "internal_error"


def test_a_client_that_says_it_all_and_finishes_is_served(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies())
    client = scene.connect(early=V1 + b"question")
    client.finish()
    scene.run()
    backend = scene.backends[ONE].connection
    assert (backend.received, backend.saw) == (b"question", "fin")
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (client.received, client.saw) == (b"answer", "fin")


# What backends are told


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_backend_is_told_of_the_client_before_its_first_byte(make_scene: Any, version: str) -> None:
    scene = make_scene(send_proxy_protocol=version)
    client, backend = scene.joined(early=b"question")
    header, rest = opened_with(backend.received)
    assert (header.version, header.source) == (int(version[1]), InetAddress("198.51.100.7", 40000))
    assert rest == b"question"
    client.reset()
    scene.run()
    assert scene.record.client_bytes == len(b"question")
    assert (scene.record.unique_id or "").encode() == (header.unique_id or b"")


def test_a_backend_is_told_what_the_proxy_before_us_said(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies(), send_proxy_protocol="v2", pass_tlvs={0x02})
    scene.connect(early=V2)
    scene.run()
    header, _ = opened_with(scene.backends[ONE].connection.received)
    assert (header.source, header.destination) == (CLIENT, SERVICE)
    assert header.authority == "www.example.com"
    assert 0xE4 not in {tlv.type for tlv in header.tlvs}


LATIN_1 = "Jürgen Müller".encode("latin-1")
SSL_WITH_LATIN_1 = Tlv(0x20, b"\x07\0\0\0\0\x22" + len(LATIN_1).to_bytes(2) + LATIN_1)
"""What HAProxy writes of a client certificate whose common name is not UTF-8: its bytes as they are."""


@pytest.mark.parametrize(
    "field",
    [SSL_WITH_LATIN_1, Tlv(0x02, LATIN_1), Tlv(0x30, LATIN_1), Tlv(0x20, b"\x07"), Tlv(0x20, bytes(6))],
    ids=["common-name", "authority", "netns", "no-flags", "cut-off"],
)
@pytest.mark.parametrize("passed", [True, False])
def test_a_field_that_is_not_in_its_encoding_goes_on_as_it_came_and_stops_nobody(
    make_scene: Any, field: Tlv, passed: bool
) -> None:
    scene = make_scene(
        preread=from_proxies(), send_proxy_protocol="v2", pass_tlvs={field.type} if passed else set()
    )
    good = Tlv(0xE4, b"mine")
    scene.connect(
        early=v2_header(tlvs=tlv(field.type, field.value) + tlv(good.type, good.value)) + b"question"
    )
    scene.run()
    header, rest = opened_with(scene.backends[ONE].connection.received)
    assert (header.source, rest) == (SOURCE, b"question")
    assert (field in header.tlvs) is passed


def test_a_name_of_the_connection_that_is_too_long_is_replaced_by_one_of_ours(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies(), send_proxy_protocol="v2", pass_tlvs={0x05})
    client = scene.connect(early=v2_header(tlvs=tlv(0x05, b"x" * 129)))
    scene.run()
    header, _ = opened_with(scene.backends[ONE].connection.received)
    assert header.unique_id is not None
    assert len(header.unique_id) == 32
    client.reset()
    scene.run()
    assert scene.record.unique_id == header.unique_id.decode()


def test_a_backend_is_told_the_name_that_was_asked_for(make_scene: Any) -> None:
    scene = make_scene(preread=by_name("api.example.com"), send_proxy_protocol="v2")
    scene.connect(early=ASKS)
    scene.run()
    header, rest = opened_with(scene.backends[ONE].connection.received)
    assert header.authority == "api.example.com"
    assert rest == ASKS


def test_the_next_backend_is_told_the_same(make_scene: Any) -> None:
    scene = make_scene({ONE: "resets_at_once", TWO: "accepts"}, send_proxy_protocol="v2", **RETRY_ON_RESET)
    scene.connect(early=b"question")
    scene.run()
    _, rest = opened_with(scene.backends[TWO].connection.received)
    assert rest == b"question"


def test_what_does_not_fit_beside_our_own_fields_is_not_passed_on(make_scene: Any) -> None:
    scene = make_scene(preread=from_proxies(), send_proxy_protocol="v2", pass_tlvs={0xE0})
    largest = Tlv(0xE0, bytes(0xFFFF - 12 - 3 - 7))
    scene.connect(early=encode_v2(CLIENT, SERVICE, [largest]) + b"question")
    scene.run()
    header, rest = opened_with(scene.backends[ONE].connection.received)
    assert (header.source, 0xE0 in {tlv.type for tlv in header.tlvs}) == (CLIENT, False)
    assert rest == b"question"


@pytest.mark.parametrize("preread", [None, PrereadSettings()])
def test_a_frontend_without_a_pool_and_routes_is_refused(preread: PrereadSettings | None) -> None:
    with pytest.raises(SettingError, match="frontend web: without a pool"):
        FrontendFactory(MemoryReactorClock(), None, name="web", preread=preread)
