"""What becomes of a request by its head: routes, answers of our own, and what backends learn of clients."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any
from unittest.mock import Mock

import attrs
import pytest

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene, only_for
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.config.route_values import RedirectTarget
from tcpbalance.http.heads import RouteHeads
from tcpbalance.http.pages import Page
from tcpbalance.http.routes import FixedAnswer, Redirect, Route
from tcpbalance.http.settings import HttpSettings
from tcpbalance.net.addresses import packed
from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.forwarded import ForwardedClient
from tcpbalance.wire.http.framing import NO_BODY
from tcpbalance.wire.http.head_reader import RequestReader
from tcpbalance.wire.http.rewrite import FieldEdits
from tcpbalance.wire.http.target import read_target

MakeScene = Callable[..., HttpScene]

PROXIES = NetworkSet([ip_network("198.51.100.0/24")])


def test_the_route_of_host_and_path_decides(make_scene: MakeScene) -> None:
    scene = make_scene(
        routes=lambda pool: [
            (only_for(hosts=("gone.example",)), Route(name="gone", answer=FixedAnswer(410, None))),
            (
                only_for(paths=("/old/*",)),
                Route(name="old", redirect=Redirect(308, RedirectTarget("/new{path}"))),
            ),
        ]
    )
    client = scene.connect(GET.replace(b"www.example.com", b"GONE.example:80"))
    assert client.received.startswith(b"HTTP/1.1 410 Gone\r\n")
    scene.send(client, GET.replace(b"GET /", b"GET /old/x?y"))
    assert b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /new/old/x\r\n" in client.received
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"hello")
    assert [record.route for record in scene.requests] == ["gone", "old", None]
    assert scene.ends == ["answered_here 410", "answered_here 308", "answered 200"]


def test_no_route_is_404(make_scene: MakeScene) -> None:
    routes = [(only_for(paths=("/a",)), Route(name="a", answer=FixedAnswer(200, None)))]
    scene = make_scene(routes=lambda pool: routes, has_default=False)
    client = scene.connect(GET)
    assert client.received.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert (client.saw, scene.ends) == ("open", ["no_route 404"])


def test_an_answer_has_its_page_and_the_header_rules_of_its_route(make_scene: MakeScene) -> None:
    edits = FieldEdits([(b"X-A", b"b")])
    answer = FixedAnswer(200, Page(b"<p>hi</p>", "text/html"))
    scene = make_scene(
        routes=lambda pool: [(only_for(), Route(name="a", answer=answer, response_headers=edits))]
    )
    client = scene.connect(GET)
    assert client.received == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-A: b\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Content-Length: 9\r\n\r\n<p>hi</p>"
    )
    assert scene.request.response_body == 9
    scene.send(client, GET.replace(b"GET", b"HEAD"))
    assert client.received.endswith(b"Content-Length: 9\r\n\r\n")


def test_an_error_has_its_page(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "refuses"}, retries=0, http={"pages": {502: Page(b"sorry", "text/plain")}})
    client = scene.connect(GET)
    assert client.received.endswith(b"\r\n\r\nsorry")


def test_rules_of_a_route_edit_both_heads(make_scene: MakeScene) -> None:
    route: dict[str, Any] = {
        "request_headers": FieldEdits([(b"X-Env", b"prod")], [b"X-Debug"]),
        "response_headers": FieldEdits([(b"X-A", b"b")], [b"X-Powered-By"]),
        "strip_prefix": b"/api",
    }
    scene = make_scene(
        routes=lambda pool: [(only_for(paths=("/api/*",)), Route(name="a", pool=pool, **route))],
        http={"server_header": "remove"},
    )
    client = scene.connect(
        GET.replace(b"GET /", b"GET /api/x").replace(b"\r\n\r\n", b"\r\nX-Debug: 1\r\nX-Env: test\r\n\r\n")
    )
    received = scene.connection.received
    assert received.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"X-Env: prod\r\n" in received
    assert b"X-Debug" not in received
    assert b"test" not in received
    scene.send(
        scene.connection,
        HELLO.replace(b"\r\n\r\n", b"\r\nServer: nginx\r\nX-Powered-By: PHP\r\nX-B: c\r\n\r\n"),
    )
    assert b"X-A: b\r\n" in client.received
    assert b"X-B: c\r\n" in client.received
    assert b"nginx" not in client.received
    assert b"PHP" not in client.received


# What comes behind CONNECT may be meant for a tunnel.
@pytest.mark.parametrize(("first", "saw"), [(b"CONNECT a:443", "fin"), (b"TRACE /", "open")])
def test_methods_that_are_not_served_are_405(make_scene: MakeScene, first: bytes, saw: str) -> None:
    scene = make_scene()
    client = scene.connect(b"%b HTTP/1.1\r\nHost: a\r\n\r\n" % first)
    assert client.received.startswith(b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, ")
    assert (scene.ends, scene.request.cause, client.saw) == (["bad_request 405"], "method", saw)


@pytest.mark.parametrize("path", [b"/admin;a=1/x", b"/admin;/x", b"/admin/x;a=1", b"/;a/admin/x"])
def test_a_path_with_parameters_takes_the_route_of_the_path_without_them(
    make_scene: MakeScene, path: bytes
) -> None:
    def routes(pool: Pool) -> Sequence[tuple[Any, Route]]:
        return [(only_for(paths=("/admin/*",)), Route(name="admin", pool=pool))]

    scene = make_scene(routes=routes, http={"ambiguous_path": "keep"})
    scene.connect(GET.replace(b"GET /", b"GET " + path))
    assert scene.connection.received.startswith(b"GET " + path + b" HTTP/1.1\r\n")
    scene.send(scene.connection, HELLO)
    assert (scene.request.route, scene.ends) == ("admin", ["answered 200"])


@pytest.mark.parametrize(
    "path",
    [b"/a/%2e%2e/b", b"/a//b", b"/a%2Fb", b"/a\\b", b"/%00", b"/admin/..;/b", b"/..;a=1/b", b"/;a/b"],
)
def test_a_path_that_can_be_taken_for_several_is_400_where_paths_count(
    make_scene: MakeScene, path: bytes
) -> None:
    scene = make_scene(http={"ambiguous_path": "reject"})
    client = scene.connect(GET.replace(b"GET /", b"GET " + path))
    assert client.received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    scene = make_scene(http={"ambiguous_path": "keep"})
    scene.connect(GET.replace(b"GET /", b"GET " + path))
    assert scene.connection.received.startswith(b"GET " + path + b" HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("host", "sent"),
    [("client", b"www.example.com"), ("backend", b"10.0.0.1:80"), ("in.example", b"in.example")],
)
def test_the_host_that_backends_get(make_scene: MakeScene, host: str, sent: bytes) -> None:
    scene = make_scene(pool_http={"host": host})
    scene.connect(GET)
    assert b"\r\nHost: %b\r\n" % sent in scene.connection.received


def test_what_clients_say_of_themselves_does_not_count(make_scene: MakeScene) -> None:
    scene = make_scene(http={"send": ("x-forwarded", "x-real-ip", "x-request-id")})
    scene.connect(
        GET.replace(
            b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.9\r\nX-Real-IP: 1\r\nX_Request_Id: mine\r\n\r\n"
        )
    )
    received = scene.connection.received
    assert b"X-Forwarded-For: 198.51.100.7\r\n" in received
    assert b"X-Real-IP: 198.51.100.7\r\n" in received
    assert b"mine" not in received
    assert re.search(rb"\r\nX-Request-Id: [0-9a-f]{32}\r\n", received)


@pytest.mark.parametrize("name", [b"X-Request-Id", b"x_request-id"])
def test_a_request_has_one_name(make_scene: MakeScene, name: bytes) -> None:
    sets = Route(name="a", request_headers=FieldEdits([(name, b"of the route"), (b"X-A", b"1")]))
    scene = make_scene(
        http={"send": ("x-request-id",)},
        routes=lambda pool: [(only_for(paths=("/*",)), attrs.evolve(sets, pool=pool))],
    )
    client = scene.connect(GET.replace(b"\r\n\r\n", b"\r\nX-Request-ID: mine\r\n\r\n"))
    (given,) = re.findall(rb"(?i)\r\nx[-_]request[-_]id: ([^\r]*)\r", scene.connection.received)
    assert b"\r\nX-A: 1\r\n" in scene.connection.received
    scene.send(scene.connection, HELLO)
    assert (scene.request.request_id, client.saw) == (given.decode(), "open")


def test_what_trusted_proxies_say_of_clients_counts(make_scene: MakeScene) -> None:
    scene = make_scene(http={"trust": PROXIES, "send": ("x-forwarded", "x-request-id")})
    client = scene.connect(
        GET.replace(
            b"\r\n\r\n",
            b"\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\nX-Request-Id: theirs\r\n\r\n",
        )
    )
    received = scene.connection.received
    assert b"X-Forwarded-For: 192.0.2.9, 198.51.100.7\r\n" in received
    assert b"X-Forwarded-Proto: https\r\n" in received
    assert b"X-Request-Id: theirs\r\n" in received
    scene.send(scene.connection, HELLO)
    assert (scene.request.client, scene.request.request_id) == ("192.0.2.9", "theirs")
    assert str(scene.request.proxy).startswith("198.51.100.7:")
    assert client.saw == "open"


FAMILIES = (
    b"\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /a"
    b"\r\nForwarded: for=192.0.2.8\r\n\r\n"
)


def test_of_two_families_of_fields_only_one_counts_and_the_other_is_dropped(make_scene: MakeScene) -> None:
    scene = make_scene(http={"trust": PROXIES})
    scene.connect(GET.replace(b"\r\n\r\n", FAMILIES))
    received = scene.connection.received
    assert b"X-Forwarded-For: 192.0.2.9, 198.51.100.7\r\n" in received
    assert b"x-forwarded-prefix: /a\r\n" in received
    assert b"192.0.2.8" not in received


def test_the_other_family_counts_where_proxies_send_that(make_scene: MakeScene) -> None:
    scene = make_scene(http={"trust": PROXIES, "read": "forwarded"})
    scene.connect(GET.replace(b"\r\n\r\n", FAMILIES))
    received = scene.connection.received
    assert b"X-Forwarded-For: 192.0.2.8, 198.51.100.7\r\n" in received
    assert b"X-Forwarded-Proto: http\r\n" in received
    assert b"x-forwarded-prefix" not in received.lower()
    assert b"192.0.2.9" not in received


def test_a_client_behind_a_proxy_that_says_nothing_is_that_proxy(make_scene: MakeScene) -> None:
    scene = make_scene(http={"trust": PROXIES})
    scene.connect(GET.replace(b"\r\n\r\n", b"\r\nForwarded: for=192.0.2.8\r\n\r\n"))
    assert b"X-Forwarded-For: 198.51.100.7\r\n" in scene.connection.received


def test_a_proxy_header_names_the_client(make_scene: MakeScene) -> None:
    scene = make_scene(preread=PrereadSettings(PROXIES))
    client = scene.connect(b"PROXY TCP4 192.0.2.9 192.0.2.1 5000 80\r\n" + GET)
    assert b"X-Forwarded-For: 192.0.2.9\r\n" in scene.connection.received
    scene.send(scene.connection, HELLO)
    assert (scene.request.client, client.received[-5:]) == ("192.0.2.9:5000", b"hello")


def test_a_bad_proxy_header_is_reset(make_scene: MakeScene) -> None:
    scene = make_scene(preread=PrereadSettings(PROXIES))
    client = scene.connect(GET)
    (record,) = scene.records
    assert (record.reason.word, client.saw, scene.requests) == ("bad_proxy_header", "reset", [])


def test_a_backend_on_a_unix_socket_is_localhost() -> None:
    heads = RouteHeads(Route(), HttpSettings())
    head = RequestReader(HeadLimits()).read(b"GET / HTTP/1.0\r\n\r\n")
    assert head is not None
    for host in ("client", "backend"):
        written = heads.request(
            head,
            read_target(head),
            NO_BODY,
            ForwardedClient(b"http", 80, ("192.0.2.1",)),
            Backend("unix:/run/app.sock"),
            host=host,
            request_id=None,
            upgrade=b"",
        )
        assert b"\r\nHost: localhost\r\n" in written


@pytest.mark.parametrize("subject", [None, "CN=client"])
@pytest.mark.parametrize("name", [None, "B.example", "a.example", "other.example"])
def test_a_certificate_that_was_shown_for_another_route_is_421(
    make_scene: MakeScene, subject: str | None, name: str | None
) -> None:
    scene = make_scene(
        routes=lambda pool: [
            (only_for(hosts=("a.example",)), Route(name="a", answer=FixedAnswer(200, None))),
            (only_for(hosts=("b.example", "c.example")), Route(name="b", answer=FixedAnswer(200, None))),
        ]
    )
    client = scene.connect()
    session: Any = next(iter(scene.frontend.registry.sessions))
    tls = TlsFacts("TLSv1.3", "suite", name, None, subject, None)
    session.preread = Mock(tls=tls, header=None, proxy=None, server_name=name)
    scene.send(client, GET.replace(b"www.example.com", b"c.example"))
    is_misdirected = subject is not None and name in {"a.example", "other.example"}
    expected = "bad_request 421" if is_misdirected else "answered_here 200"
    assert (scene.ends, client.saw) == ([expected], "open")
    assert scene.request.cause == ("misdirected" if is_misdirected else "")
    client.reset()
    scene.run()


def test_a_backend_is_chosen_by_the_client_that_is_reported_at_each_attempt(make_scene: MakeScene) -> None:
    scene = make_scene(
        {ONE: "refuses", TWO: "accepts"}, http={"trust": PROXIES}, affinity=AffinityConfig(ttl=60.0)
    )
    scene.connect(GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n"))
    scene.send(scene.connection, HELLO)
    assert scene.request.attempts == 2
    assert scene.pool.affinity is not None
    assert scene.pool.affinity.latest_clients() == [packed("192.0.2.9")]


def test_each_connection_keeps_to_its_rate(make_scene: MakeScene) -> None:
    scene = make_scene(limits={"bandwidth_per_connection": 10_000})
    client = scene.connect(GET)
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000)
    scene.advance(3.0)
    assert 10_000 < len(client.received) < 60_000
    scene.advance(20.0)
    assert client.received.endswith(b"a" * 100_000)
    scene.send(client, GET)
    scene.send(scene.connections[-1], HELLO)
    scene.advance(2.0)
    assert scene.ends == ["answered 200"] * 2
