"""Requests with CONNECT: who gets a tunnel, where to, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed

from support.http_scene import GET, HELLO, ONE, HttpScene
from support.threads import Threads
from support.users import proxy_authorization, users_file
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.users_file import UsersFile
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.destinations import Destination
from tcpbalance.http.connect.destinations import Destinations
from tcpbalance.http.connect.settings import ConnectSettings
from tcpbalance.proxy.reasons import EndReason

MakeScene = Callable[..., HttpScene]

INSIDE = "10.0.9.9:5432"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def asks(to: str = INSIDE, fields: bytes = b"") -> bytes:
    return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (to.encode(), to.encode(), fields)


def connects(*allow: str, **settings: Any) -> dict[str, Any]:
    """Give the settings of a frontend whose clients may have tunnels."""
    allowed = map(Destination.parse, allow or (INSIDE,))
    return {"connect": ConnectSettings(Destinations(allowed, is_own=lambda ip: False), **settings)}


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return succeed(work())


def destination(scene: HttpScene, behaviour: Any = "accepts", address: str = INSIDE) -> Any:
    return scene.network.backend(address, behaviour)


def opened(scene: HttpScene, data: bytes = b"", **how: Any) -> tuple[Any, Any]:
    """Give a client that has a tunnel, and the destination's end of that."""
    inside = destination(scene)
    client = scene.connect(asks() + data, **how)
    assert client.received.startswith(ESTABLISHED)
    return client, inside.connection


def body(client: Any) -> str:
    text: bytes = client.received.partition(b"\r\n\r\n")[2]
    return text.decode()


def test_bytes_go_both_ways_with_those_sent_with_the_request(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    client, inside = opened(scene, b"hello")
    assert inside.received == b"hello"
    for number in range(5):
        scene.send(client, b"%d" % number)
        scene.send(inside, b"<%d>" % number)
    assert inside.received == b"hello01234"
    assert client.received == ESTABLISHED + b"<0><1><2><3><4>"
    assert scene.records == []
    client.finish()
    scene.run()
    assert (inside.saw, client.saw) == ("fin", "open")
    scene.send(inside, b"bye")
    inside.finish()
    scene.run()
    assert client.received.endswith(b"bye")
    record = scene.request
    assert (record.method, record.target, record.host) == ("CONNECT", INSIDE, INSIDE)
    assert (record.status, record.reason, record.backend) == (200, EndReason.CLIENT_CLOSED, INSIDE)
    assert (record.attempts, record.user, record.route) == (1, None, None)
    assert record.client_bytes == len(asks()) + 10
    assert record.backend_bytes == len(b"<0><1><2><3><4>bye")
    assert scene.frontend.stats.snapshot()["responses.2xx"] == 1


def test_a_destination_may_speak_first(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    client, inside = opened(scene)
    scene.send(inside, b"220 mail\r\n")
    assert client.received == ESTABLISHED + b"220 mail\r\n"
    inside.reset()
    scene.advance(1.0)
    assert (client.saw, scene.ends) == ("reset", ["backend_reset 200"])


def test_much_passes_both_ways(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects(), network={"send_buffer": 10_000, "receive_buffer": 10_000})
    client, inside = opened(scene, b"a" * 100_000)
    scene.send(client, b"b" * 1_000_000)
    scene.send(inside, b"c" * 1_000_000)
    assert inside.received == b"a" * 100_000 + b"b" * 1_000_000
    assert client.received == ESTABLISHED + b"c" * 1_000_000


def test_what_is_sent_while_the_destination_is_dialled_is_kept_up_to_a_bound(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    inside = destination(scene, "hangs")
    client = scene.connect(asks() + b"a" * 10_000)
    scene.send(client, b"b" * 1_000_000)
    assert scene.kept < 300_000
    assert client.received == b""
    inside.behaviour = "accepts"
    scene.run()
    assert inside.connection.received == b"a" * 10_000 + b"b" * 1_000_000


def test_requests_before_it_are_served_on_the_same_connection(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    inside = destination(scene)
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.send(client, asks() + b"more")
    assert client.received.endswith(b"hello" + ESTABLISHED)
    assert inside.connection.received == b"more"


@pytest.mark.parametrize(
    ("to", "word", "text"),
    [
        ("10.0.9.9:22", "destination_not_allowed", "tunnels to 10.0.9.9:22 are not allowed\n"),
        ("10.0.9.8:5432", "destination_not_allowed", "tunnels to 10.0.9.8:5432 are not allowed\n"),
        ("127.0.0.1:5432", "destination_not_allowed", "tunnels to 127.0.0.1:5432 are not allowed\n"),
        ("[::1]:5432", "destination_not_allowed", "tunnels to [::1]:5432 are not allowed\n"),
        (
            "www.example.com:5432",
            "destination_not_allowed",
            "tunnels to www.example.com:5432 are not allowed\n",
        ),
    ],
)
def test_what_is_not_allowed_is_403_and_says_so(make_scene: MakeScene, to: str, word: str, text: str) -> None:
    scene = make_scene(http=connects())
    client = scene.connect(asks(to) + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"Connection: close\r\n" in client.received
    # What was meant for the tunnel is no request.
    assert client.received.count(b"HTTP/1.1") == 1
    assert body(client) == text
    assert (scene.request.cause, scene.ends) == (word, ["tunnel_refused 403"])
    assert scene.frontend.stats.snapshot()[f"connect_refused.{word}"] == 1
    client.finish()
    scene.run()
    assert client.saw == "fin"


def test_without_the_table_it_is_405(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(asks())
    assert client.received.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET" in client.received


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"CONNECT 10.0.9.9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT http://10.0.9.9:5432/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT /10.0.9.9:5432 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a..b:5432 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT 10.0.9.256:5432 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT user@10.0.9.9:5432 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT 10.0.9.9:5432 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", 400),
        (b"CONNECT 10.0.9.9:5432 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"CONNECT 10.0.9.9:5432 HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_for_a_tunnel_is_400(make_scene: MakeScene, data: bytes, status: int) -> None:
    scene = make_scene(http=connects("*:5432", INSIDE))
    inside = destination(scene)
    client = scene.connect(data)
    assert client.received.startswith(b"HTTP/1.1 %d " % status)
    assert inside.dials == 0


def test_http_1_0_gets_a_tunnel_as_well(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    inside = destination(scene)
    client = scene.connect(b"CONNECT %b HTTP/1.0\r\n\r\nhello" % INSIDE.encode())
    assert (client.received, inside.connection.received) == (ESTABLISHED, b"hello")


# Failures


@pytest.mark.parametrize(
    ("behaviour", "answer", "end"),
    [
        ("refuses", b"HTTP/1.1 502 ", "tunnel_failed 502"),
        ("lacks_descriptor", b"HTTP/1.1 503 ", "out_of_descriptors 503"),
        ("lacks_buffers", b"HTTP/1.1 503 ", "local_failure 503"),
    ],
)
def test_a_destination_that_cannot_be_had_is_an_answer(
    make_scene: MakeScene, behaviour: str, answer: bytes, end: str
) -> None:
    scene = make_scene(http=connects())
    destination(scene, behaviour)
    client = scene.connect(asks() + b"early")
    scene.run()
    assert client.received.startswith(answer)
    assert scene.ends == [end]
    assert scene.request.failures == ((INSIDE, scene.request.cause),)


def test_one_that_is_silent_is_504(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects(timeout=5.0))
    destination(scene, "hangs")
    client = scene.connect(asks())
    scene.advance(4.5)
    assert client.received == b""
    scene.advance(1.0)
    assert client.received.startswith(b"HTTP/1.1 504 ")
    assert scene.ends == ["tunnel_timeout 504"]


@pytest.mark.parametrize("leave", ["finish", "reset"])
def test_a_client_that_leaves_while_it_is_dialled_ends_that(make_scene: MakeScene, leave: str) -> None:
    scene = make_scene(http=connects())
    destination(scene, "hangs")
    client = scene.connect(asks())
    getattr(client, leave)()
    scene.run()
    reason = "client_closed" if leave == "finish" else "client_reset"
    assert scene.ends == [f"{reason} 0"]
    assert scene.request.failures == ((INSIDE, "given up"),)


# Who


def test_clients_of_other_networks_are_refused(make_scene: MakeScene) -> None:
    clients = NetworkSet([ip_network("192.0.2.0/24")])
    scene = make_scene(http=connects(clients=clients))
    destination(scene)
    stranger = scene.connect(asks(), address=IPv4Address("TCP", "198.51.100.1", 1000))
    assert stranger.received.startswith(b"HTTP/1.1 403 ")
    assert body(stranger) == "tunnels are not for clients of your network\n"
    client = scene.connect(asks(), address=IPv4Address("TCP", "192.0.2.7", 1000))
    assert client.received == ESTABLISHED
    assert scene.request.cause == "client_not_allowed"


@pytest.fixture
def users(tmp_path: Path) -> UsersFile:
    return UsersFile(str(users_file(tmp_path)))


def test_a_password_is_needed_where_there_are_users(make_scene: MakeScene, users: UsersFile) -> None:
    scene = make_scene(http=connects(users=users), in_thread=at_once)
    destination(scene)
    client = scene.connect(asks())
    assert client.received.startswith(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
    assert b'Proxy-Authenticate: Basic realm="tcpbalance", charset="UTF-8"\r\n' in client.received
    assert scene.request.cause == "credentials_missing"
    wrong = scene.connect(asks(fields=proxy_authorization(password=b"guess")))
    assert wrong.received.startswith(b"HTTP/1.1 407 ")
    assert body(wrong) == "the user name or the password is wrong\n"
    right = scene.connect(asks(fields=proxy_authorization()) + b"early")
    assert right.received == ESTABLISHED
    right.reset()
    scene.run()
    assert [(record.cause, record.user) for record in scene.requests] == [
        ("credentials_missing", None),
        ("credentials_wrong", "alice"),
        ("", "alice"),
    ]


def test_a_name_that_is_none_of_theirs_is_in_no_record(make_scene: MakeScene, users: UsersFile) -> None:
    scene = make_scene(http=connects(users=users), in_thread=at_once)
    scene.connect(asks(fields=proxy_authorization(b"open sesame", b"alice")))
    assert (scene.request.user, scene.request.cause) == (None, "credentials_wrong")
    assert "sesame" not in repr(scene.records)


def test_nothing_is_said_of_destinations_to_those_without_a_password(
    make_scene: MakeScene, users: UsersFile
) -> None:
    scene = make_scene(http=connects(users=users), in_thread=at_once)
    inside = destination(scene)
    for to in (INSIDE, "10.0.9.8:5432"):
        client = scene.connect(asks(to, proxy_authorization(password=b"guess")))
        assert client.received.startswith(b"HTTP/1.1 407 ")
    assert inside.dials == 0
    client = scene.connect(asks("10.0.9.8:5432", proxy_authorization()))
    assert client.received.startswith(b"HTTP/1.1 403 ")


def test_others_are_served_while_a_password_is_checked(make_scene: MakeScene, users: UsersFile) -> None:
    threads = Threads()
    scene = make_scene(http=connects(users=users), in_thread=threads)
    inside = destination(scene)
    client = scene.connect(asks(fields=proxy_authorization()) + b"early")
    scene.connect(GET)
    scene.send(scene.connection, HELLO)
    assert (scene.ends, client.received, inside.dials) == (["answered 200"], b"", 0)
    threads.run()
    scene.run()
    assert (client.received, inside.connection.received) == (ESTABLISHED, b"early")


def test_a_check_that_takes_too_long_is_504(make_scene: MakeScene, users: UsersFile) -> None:
    threads = Threads()
    scene = make_scene(http=connects(users=users, timeout=3.0), in_thread=threads)
    client = scene.connect(asks(fields=proxy_authorization()))
    scene.advance(4.0)
    assert client.received.startswith(b"HTTP/1.1 504 ")
    threads.run()
    assert scene.ends == ["tunnel_timeout 504"]


def test_a_client_that_leaves_meanwhile_gets_no_tunnel(make_scene: MakeScene, users: UsersFile) -> None:
    threads = Threads()
    scene = make_scene(http=connects(users=users), in_thread=threads)
    inside = destination(scene)
    client = scene.connect(asks(fields=proxy_authorization()))
    client.reset()
    scene.run()
    threads.run()
    scene.run()
    assert (inside.dials, scene.ends) == (0, ["client_reset 0"])


def test_too_many_guesses_are_503(make_scene: MakeScene, users: UsersFile) -> None:
    threads = Threads()
    scene = make_scene(http=connects(users=users), in_thread=threads)
    for number in range(5):
        client = scene.connect(asks(fields=proxy_authorization(password=b"%d" % number)))
    assert client.received.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in client.received
    assert scene.request.cause == "too_many_password_checks"
    threads.run()


def test_a_client_that_guesses_is_banned(make_scene: MakeScene, users: UsersFile) -> None:
    limits = LimitsConfig(ban_after=3)
    scene = make_scene(
        http=connects(users=users),
        in_thread=at_once,
        admission=lambda clock: AdmissionControl(Access(), limits, clock),
    )
    for number in range(3):
        scene.connect(asks())  # Without a password, it is asked for one.
        client = scene.connect(asks(fields=proxy_authorization(password=b"%d" % number)))
        assert client.received.startswith(b"HTTP/1.1 407 ")
    scene.network.connect_client(scene.frontend)
    assert scene.frontend.stats.snapshot()["refused.banned"] == 1


def test_the_password_goes_to_no_backend(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    scene.connect(GET.replace(b"\r\n\r\n", b"\r\n%b\r\n" % proxy_authorization()))
    assert b"Proxy-Auth" not in scene.connection.received


# Limits, drain and ends


def test_the_idle_timeout_of_the_frontend_counts(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects(), timeouts={"idle_timeout": 100.0})
    client, _ = opened(scene)
    scene.advance(95.0)
    assert client.saw == "open"
    scene.advance(60.0)
    assert (client.saw, scene.ends) == ("reset", ["idle_timeout 200"])


def test_the_bandwidth_of_a_connection_counts(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects(), limits={"bandwidth_per_connection": 10_000})
    client, inside = opened(scene)
    scene.send(client, b"a" * 100_000)
    assert len(inside.received) < 50_000
    scene.advance(30.0)
    assert len(inside.received) == 100_000


def test_it_is_a_request_under_way_until_it_ends(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects(), limits={"max_requests": 1})
    client, _ = opened(scene)
    assert scene.connect(GET).received.startswith(b"HTTP/1.1 503 ")
    client.reset()
    scene.run()
    other = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    assert other.received.startswith(b"HTTP/1.1 200 ")


def test_the_operator_sees_where_it_leads_and_ends_it(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    client, inside = opened(scene)
    (session,) = scene.frontend.registry.sessions
    facts = session.facts()
    assert (facts.state, facts.backend, facts.pool) == ("relaying", INSIDE, None)
    assert not session.can_move(0.0)
    session.end(EndReason.ENDED_BY_OPERATOR)
    scene.run()
    assert (client.saw, inside.saw, scene.ends) == ("reset", "reset", ["ended_by_operator 200"])


def test_a_tunnel_lives_on_when_the_frontend_takes_no_more_clients(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects())
    client, inside = opened(scene)
    scene.frontend.stopFactory()
    scene.run()
    scene.send(client, b"still")
    scene.send(inside, b"here")
    assert (inside.received, client.received) == (b"still", ESTABLISHED + b"here")
    scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)
    scene.run()
    assert scene.ends == ["shutdown 200"]


def test_a_frontend_needs_no_pool_for_it(make_scene: MakeScene) -> None:
    scene = make_scene(http=connects(), has_default=False)
    client, inside = opened(scene, b"hello")
    assert inside.received == b"hello"
    other = scene.connect(GET)
    assert other.received.startswith(b"HTTP/1.1 404 ")
    assert ONE in scene.backends
    client.reset()
    scene.run()
    assert inside.saw == "reset"
