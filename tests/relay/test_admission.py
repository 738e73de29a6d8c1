"""Who comes in, and that each who did gives back what it holds at the gate, once, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from operator import attrgetter
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import LogEvent, capturedLogs, formatEvent

from support.network import Network
from support.scene import ONE, Scene
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.net.addresses import packed
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.dry_run import DryRunLimit
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.proxy_protocol import InetAddress, UnixAddress, encode_v1, encode_v2, encode_v2_local
from tcpbalance.wire.server_names import NameMap

PEER = packed("198.51.100.7")
"""Where the clients of a scene connect from."""

CLIENT = InetAddress("203.0.113.9", 51111)
OTHER = InetAddress("203.0.113.10", 51111)
SERVICE = InetAddress("192.0.2.1", 443)
HEADER = encode_v2(CLIENT, SERVICE)
TIMEOUT = 5.0

Clock = Callable[[], float]


class Watched(AdmissionControl):
    """Keeps note of whom it was asked for, and of who left."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.asked: list[bytes | None] = []
        self.left: list[bytes | None] = []

    def admit(self, client: bytes | None) -> Any:
        self.asked.append(client)
        return super().admit(client)

    def release(self, client: bytes | None) -> None:
        self.left.append(client)
        super().release(client)


def networks(*texts: str) -> NetworkSet:
    return NetworkSet(map(ip_network, texts))


def limits(most: int = 1, **others: Any) -> Callable[[Clock], AdmissionControl]:
    return lambda seconds: Watched(Access(), LimitsConfig(connections_per_client=most, **others), seconds)


def denies(*texts: str) -> Callable[[Clock], AdmissionControl]:
    return lambda seconds: Watched(Access(deny=networks(*texts)), LimitsConfig(), seconds)


def from_proxies(_: Pool) -> PrereadSettings:
    return PrereadSettings(networks("198.51.100.0/24"), timeout=TIMEOUT)


# At the accept


@pytest.mark.parametrize("admission", [denies("198.51.100.0/24"), limits(most=1, ban_after=1)])
def test_a_refused_client_gets_a_reset_and_nothing_else(make_scene: Any, admission: Any) -> None:
    scene = make_scene(admission=admission)
    first = scene.admission.admit(PEER)
    client = scene.turned_away(early=b"question")
    scene.run()
    assert (client.saw, client.received) == ("reset", b"")
    assert (scene.records, scene.frontend.stats.ended.total()) == ([], 0)
    assert scene.backends[ONE].connections == []
    if first is None:
        scene.admission.release(PEER)


def test_who_left_makes_room(make_scene: Any) -> None:
    scene = make_scene(admission=limits(most=2))
    clients = [scene.connect() for _ in range(2)]
    scene.run()
    assert scene.turned_away().socket.was_reset
    clients[0].reset()
    scene.run()
    scene.connect()
    scene.run()
    assert scene.turned_away().socket.was_reset
    assert scene.admission.left == [PEER]


def test_the_rate_is_that_of_the_frontends_clock(make_scene: Any) -> None:
    scene = make_scene(admission=limits(most=9, connect_rate_per_client=0.1, burst_per_client=2))
    scene.connect()
    scene.connect()
    scene.turned_away()
    scene.advance(10.1)
    scene.connect()
    scene.turned_away()


def test_an_ipv4_client_of_an_ipv6_listener_is_the_same_client(make_scene: Any) -> None:
    scene = make_scene(admission=limits(most=1))
    scene.connect(address=IPv6Address("TCP", "::ffff:198.51.100.7", 1000))
    scene.turned_away()
    scene.turned_away(address=IPv6Address("TCP", "::ffff:198.51.100.7", 1001))


def test_an_ipv6_network_is_one_client(make_scene: Any) -> None:
    scene = make_scene(admission=limits(most=1))
    scene.connect(address=IPv6Address("TCP", "2001:db8::1", 1000))
    scene.turned_away(address=IPv6Address("TCP", "2001:db8::2", 1000))
    scene.connect(address=IPv6Address("TCP", "2001:db8:0:1::1", 1000))


def test_who_comes_by_a_unix_socket_always_comes_in(make_scene: Any) -> None:
    scene = make_scene(
        admission=lambda seconds: Watched(
            Access(networks("192.0.2.1"), networks("0.0.0.0/0", "::/0")),
            LimitsConfig(connections_per_client=1, connect_rate_per_client=0.001, ban_after=1),
            seconds,
        )
    )
    for name in (None, b"/run/client", None):
        scene.connect(address=UNIXAddress(name))
    scene.run()
    assert len(scene.backends[ONE].connections) == 3


def test_a_trial_lets_everybody_in_and_says_so_once_a_second(make_scene: Any) -> None:
    def trial(seconds: Clock) -> AdmissionControl:
        return Watched(Access(), LimitsConfig(connections_per_client=1, dry_run=True), seconds)

    scene = make_scene(admission=trial)
    with capturedLogs() as events:
        for _ in range(5):
            scene.connect()
            scene.advance(0.4)
        scene.advance(1)
    told = [(event["what"], event["total"], event["reasons"]) for event in events]
    assert told == [
        ("not refused, because of dry_run", 1, "too_many_connections: 1"),
        ("not refused, because of dry_run", 2, "too_many_connections: 2"),
        ("not refused, because of dry_run", 1, "too_many_connections: 1"),
    ]
    assert scene.inside == 1


# What the log is told


def told(events: Sequence[LogEvent]) -> list[int]:
    """How many each line speaks of."""
    return [event["total"] for event in events]


def test_the_last_of_a_flood_are_told_by_themselves(make_scene: Any) -> None:
    scene = make_scene(admission=denies("198.51.100.0/24"))
    with capturedLogs() as events:
        for port in (1, 2, 3):
            scene.turned_away(address=IPv4Address("TCP", "198.51.100.7", port))
        assert told(events) == [1]
        scene.advance(2)
    assert (told(events), events[-1]["last"]) == ([1, 2], "198.51.100.7:3")
    scene.advance(1)
    assert scene.network.clock.getDelayedCalls() == []


@pytest.mark.parametrize("stop", ["stopFactory", "registry.when_idle"])
def test_what_is_untold_when_the_frontend_stops_is_told_then(make_scene: Any, stop: str) -> None:
    scene = make_scene(admission=denies("203.0.113.9"), preread=from_proxies)
    heard = scene.connect(early=HEADER)
    with capturedLogs() as events:
        for _ in range(3):
            scene.turned_away(address=IPv4Address("TCP", "203.0.113.9", 1000))
        attrgetter(stop)(scene.frontend)()
        scene.run()
    assert (heard.saw, scene.ended) == ("reset", "refused")
    assert sum(told(events)) == 4
    assert stop == "stopFactory" or scene.leftovers() == []


def test_a_trial_of_the_number_of_sessions_keeps_nobody_waiting(make_scene: Any) -> None:
    scene = make_scene(settings={"connections": 2, "dry_run": True})
    with capturedLogs() as events:
        for _ in range(5):
            scene.connect()
        scene.advance(2)
    assert len(scene.backends[ONE].connections) == len(scene.frontend.registry.sessions) == 5
    assert scene.frontend.stats.would_limit == {DryRunLimit.CONNECTIONS: 3}
    assert [formatEvent(event) for event in events] == [
        f"frontend frontend: limits not enforced, because of dry_run (connections: {count})"
        for count in (1, 2)
    ]


def test_what_a_trial_finds_once_nobody_comes_is_told_with_the_last_session(make_scene: Any) -> None:
    scene = make_scene(settings={"bandwidth_per_connection": 1000, "dry_run": True})
    clients = [scene.connect() for _ in range(2)]
    scene.run()
    scene.frontend.stopFactory()
    with capturedLogs() as events:
        for client in clients:
            client.send(bytes(5000))
            scene.run()
        for client in clients:
            client.reset()
        scene.run()
    line = "frontend frontend: limits not enforced, because of dry_run (bandwidth_per_connection: 1)"
    assert [formatEvent(event) for event in events] == [line, line]
    assert scene.network.clock.getDelayedCalls() == []


def test_a_client_that_is_heard_first_counts_once_in_a_trial(make_scene: Any) -> None:
    scene = make_scene(settings={"connections": 1, "dry_run": True}, preread=from_proxies)
    with capturedLogs():
        for _ in range(2):
            scene.connect(early=HEADER)
        scene.run()
    assert scene.frontend.stats.would_limit == {DryRunLimit.CONNECTIONS: 1}


# What is given back


def finishes(scene: Scene, client: Any) -> None:
    client.finish()
    for backend in scene.backends[ONE].connections:
        backend.finish()


def resets(scene: Scene, client: Any) -> None:
    client.reset()


def backend_finishes(scene: Scene, client: Any) -> None:
    scene.backends[ONE].connection.finish()
    scene.run()
    client.finish()


def backend_resets(scene: Scene, client: Any) -> None:
    scene.backends[ONE].connection.send(b"answer")
    scene.run()
    scene.backends[ONE].connection.reset()


def waits(scene: Scene, client: Any) -> None:
    scene.advance(2 * scene.frontend.context.timeouts.idle_timeout + 10)


def shut_down(scene: Scene, client: Any) -> None:
    scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)


@pytest.mark.parametrize("behind_a_proxy", [False, True])
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (finishes, "client_closed"),
        (resets, "client_reset"),
        (backend_finishes, "backend_closed"),
        (backend_resets, "backend_reset"),
        (waits, "idle_timeout"),
        (shut_down, "shutdown"),
    ],
)
def test_a_session_gives_back_what_it_holds(
    make_scene: Any, end: Any, reason: str, behind_a_proxy: bool
) -> None:
    scene = make_scene(admission=limits(), preread=from_proxies if behind_a_proxy else None)
    client = scene.connect(early=HEADER if behind_a_proxy else b"")
    scene.run()
    assert (scene.inside, scene.admission.left) == (1, [])
    end(scene, client)
    scene.run()
    held = packed(CLIENT.host) if behind_a_proxy else PEER
    assert (scene.ended, scene.inside, scene.admission.left) == (reason, 0, [held])


@pytest.mark.parametrize("outcome", ["refuses", "resets_at_once", "lacks_descriptor"])
@pytest.mark.parametrize("behind_a_proxy", [False, True])
def test_who_reaches_no_backend_gives_back_what_it_holds(
    make_scene: Any, outcome: Any, behind_a_proxy: bool
) -> None:
    scene = make_scene({ONE: outcome}, admission=limits(), preread=from_proxies if behind_a_proxy else None)
    scene.connect(early=HEADER if behind_a_proxy else b"")
    scene.advance(60)
    assert len(scene.records) == len(scene.admission.left) == 1
    assert scene.inside == 0


def test_a_dial_under_way_holds_its_client(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, admission=limits())
    client = scene.connect()
    scene.run()
    assert scene.turned_away().socket.was_reset
    client.reset()
    scene.run()
    assert scene.admission.left == [PEER]


def _fail(*_: object) -> float:
    raise RuntimeError("a flaw of ours")


@pytest.mark.parametrize("behind_a_proxy", [False, True])
def test_a_session_that_cannot_start_gives_back_what_its_client_holds(
    carrier: Any, monkeypatch: pytest.MonkeyPatch, behind_a_proxy: bool
) -> None:
    monkeypatch.setattr("tcpbalance.proxy.session.outgoing_proxy_header", _fail)
    monkeypatch.setattr("tcpbalance.proxy.bare_session.outgoing_proxy_header", _fail)
    scene = carrier(
        admission=limits(), preread=from_proxies if behind_a_proxy else None, send_proxy_protocol="v2"
    )
    with capturedLogs() as events:
        client = scene.connect(early=HEADER)
        scene.run()
    assert [event["log_failure"].value.args for event in events] == [("a flaw of ours",)]
    assert (client.saw, scene.ended, len(scene.admission.left), scene.leftovers()) == (
        "reset",
        "internal_error",
        1,
        [],
    )


def test_a_session_that_cannot_go_on_after_its_preread_gives_back_what_its_client_holds(
    carrier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = carrier(admission=limits(), preread=from_proxies)
    monkeypatch.setattr("tcpbalance.proxy.session.Deadlines", _fail)
    with capturedLogs():
        scene.connect(early=HEADER)
        scene.run()
    assert (scene.ended, scene.admission.left, scene.leftovers()) == (
        "internal_error",
        [packed(CLIENT.host)],
        [],
    )


def test_an_account_that_cannot_be_taken_keeps_nobody_inside(carrier: Any) -> None:
    scene = carrier(admission=limits())

    def fail(_: object) -> None:
        raise RuntimeError("a flaw of whoever listens")

    scene.frontend.registry.on_record = fail
    client, _ = scene.joined()
    with capturedLogs():
        client.reset()
        scene.run()
    assert scene.admission.left == [PEER]


# Behind proxies


@pytest.mark.parametrize("header", [encode_v1(CLIENT, SERVICE), HEADER], ids=["v1", "v2"])
def test_a_client_behind_a_proxy_is_refused_once_it_is_known(make_scene: Any, header: bytes) -> None:
    scene = make_scene(admission=denies("203.0.113.9"), preread=from_proxies)
    client = scene.connect(early=header[:-1])
    scene.run()
    assert (client.saw, scene.admission.asked) == ("open", [])
    client.send(header[-1:] + b"question")
    scene.run()
    assert (client.saw, scene.ended, scene.record.cause) == ("reset", "refused", "denied")
    assert (scene.record.client, scene.record.proxy) == ("203.0.113.9:51111", "198.51.100.7:40000")
    assert (scene.backends[ONE].connections, scene.admission.left) == ([], [])


def test_clients_behind_one_proxy_are_told_apart(make_scene: Any) -> None:
    scene = make_scene(admission=limits(most=1), preread=from_proxies)
    first = scene.connect(early=HEADER)
    scene.connect(early=encode_v1(OTHER, SERVICE))
    again = scene.connect(early=HEADER)
    scene.run()
    assert [client.saw for client in scene.clients] == ["open", "open", "reset"]
    assert (scene.ended, scene.record.cause) == ("refused", "too_many_connections")
    assert (again.saw, scene.admission.left) == ("reset", [])
    first.reset()
    scene.run()
    assert scene.admission.left == [packed(CLIENT.host)]


def test_a_listed_proxy_is_not_judged_by_its_own_address(make_scene: Any) -> None:
    scene = make_scene(admission=denies("198.51.100.0/24"), preread=from_proxies)
    client = scene.connect(early=HEADER + b"question")
    scene.run()
    assert (client.saw, scene.backends[ONE].connection.received) == ("open", b"question")
    assert scene.admission.asked == [packed(CLIENT.host)]


UNIX = encode_v2(UnixAddress(b"/run/client"), UnixAddress(b"/run/service"))
UNSPEC = encode_v2(None, None)
WITHOUT_AN_ADDRESS = pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", encode_v2_local(), UNSPEC, UNIX],
    ids=["unknown", "local", "unspec", "unix"],
)


@WITHOUT_AN_ADDRESS
def test_who_has_no_ip_address_counts_as_its_proxy(make_scene: Any, header: bytes) -> None:
    scene = make_scene(admission=limits(most=1), preread=from_proxies)
    first = scene.connect(early=header)
    scene.connect(early=header)
    scene.run()
    assert (scene.admission.asked, scene.ended) == ([PEER, PEER], "refused")
    first.reset()
    scene.run()
    assert scene.admission.left == [PEER]


@WITHOUT_AN_ADDRESS
@pytest.mark.parametrize("allowed", ["198.51.100.0/24", "203.0.113.9"])
def test_who_has_no_ip_address_comes_in_where_its_proxy_may(
    make_scene: Any, header: bytes, allowed: str
) -> None:
    scene = make_scene(
        admission=lambda seconds: Watched(Access(networks(allowed)), LimitsConfig(), seconds),
        preread=from_proxies,
    )
    client = scene.connect(early=header)
    scene.run()
    assert client.saw == ("open" if allowed == "198.51.100.0/24" else "reset")


def test_the_log_names_the_unix_socket_and_its_proxy(make_scene: Any) -> None:
    scene = make_scene(admission=limits(most=1), preread=from_proxies)
    scene.connect(early=UNIX).reset()
    scene.run()
    assert (scene.record.client, scene.record.proxy) == ("unix:/run/client", "198.51.100.7:40000")


def test_a_peer_that_is_no_proxy_is_judged_at_the_accept(make_scene: Any) -> None:
    scene = make_scene(admission=denies("203.0.113.9"), preread=from_proxies)
    scene.turned_away(address=IPv4Address("TCP", "203.0.113.9", 1000))
    assert scene.admission.asked == [packed("203.0.113.9")]


@pytest.mark.parametrize("said", [b"", HEADER[:10], b"GET / HTTP/1.0\r\n\r\n"])
def test_who_never_said_for_whom_it_came_holds_nothing(make_scene: Any, said: bytes) -> None:
    scene = make_scene(admission=limits(most=1), preread=from_proxies)
    for _ in range(3):
        scene.connect(early=said)
    scene.advance(TIMEOUT + 2)
    assert [record.reason for record in scene.records].count(EndReason.REFUSED) == 0
    assert (len(scene.records), scene.admission.asked, scene.admission.left) == (3, [], [])


def test_who_is_heard_for_a_name_was_judged_before_and_gives_back_after_all(make_scene: Any) -> None:
    def by_name(pool: Pool) -> PrereadSettings:
        return PrereadSettings(routes=NameMap([("a.example", pool)], deep=True), timeout=TIMEOUT)

    scene = make_scene(admission=limits(most=1), preread=by_name)
    scene.connect(early=b"\x16\x03")
    assert scene.turned_away().socket.was_reset
    scene.advance(TIMEOUT + 2)
    assert (scene.ended, scene.admission.left) == ("preread_timeout", [PEER])
    scene.connect(early=b"no TLS at all")
    scene.run()
    assert (len(scene.admission.asked), scene.inside) == (3, 1)


def test_a_protocol_that_is_lost_before_it_had_a_transport_gives_back_what_it_holds() -> None:
    network = Network()
    admission = limits()(network.clock.seconds)
    pool = Scene().pool
    frontend = FrontendFactory(network.reactor, pool, admission=admission, connector=network.connector)
    protocol = frontend.buildProtocol(IPv4Address("TCP", "198.51.100.7", 1000))
    assert protocol is not None
    protocol.connectionLost()
    assert len(admission.clients) == admission.clients.idle == 0
