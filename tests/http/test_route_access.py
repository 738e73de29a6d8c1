"""Which clients may send the requests of a route."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.logger import capturedLogs

from support.http_scene import GET, HELLO, HttpScene, only_for
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.http.pages import Page
from tcpbalance.http.routes import FixedAnswer, Route, Routes
from tcpbalance.pool.pool import Pool
from tcpbalance.wire.http.rewrite import FieldEdits

MakeScene = Callable[..., HttpScene]
MakeRoutes = Callable[[Pool], Sequence[tuple[Any, Route]]]

OFFICE = IPv4Address("TCP", "192.0.2.7", 4711)
STRANGER = IPv4Address("TCP", "198.51.100.7", 4711)
ADMIN = GET.replace(b"GET /", b"GET /admin")


def networks(*texts: str) -> NetworkSet:
    """Make a set of networks."""
    return NetworkSet(ip_network(text) for text in texts)


def office_only(**fields: Any) -> MakeRoutes:
    """Make a route that is for one network."""

    def routes(pool: Pool) -> Sequence[tuple[Any, Route]]:
        access = Access(networks("192.0.2.0/24"), networks("192.0.2.66"), needs_address=True)
        made: dict[str, Any] = {"access": access, "pool": pool, **fields}
        return [(only_for(paths=("/admin",)), Route(name="admin", **made))]

    return routes


def test_a_client_that_is_not_allowed_gets_403_and_no_backend_sees_it(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only())
    client = scene.connect(ADMIN, address=STRANGER)
    assert client.received.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert (scene.ends, scene.connections) == (["request_refused 403"], [])
    assert (scene.request.cause, scene.request.route, client.saw) == ("not_allowed", "admin", "open")
    assert scene.frontend.stats.snapshot()["requests_ended.request_refused"] == 1


def test_the_same_connection_is_served_by_other_routes(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only())
    client = scene.connect(ADMIN, address=STRANGER)
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["request_refused 403", "answered 200"]


def test_an_allowed_client_is_served(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only())
    scene.connect(ADMIN, address=OFFICE)
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["answered 200"]


def test_deny_takes_precedence(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only())
    scene.connect(ADMIN, address=IPv4Address("TCP", "192.0.2.66", 4711))
    assert (scene.ends, scene.request.cause) == (["request_refused 403"], "denied")


def test_one_without_an_address_is_in_no_list_and_allow_refuses_it(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only())
    client = scene.connect(ADMIN, address=UNIXAddress(None))
    assert client.received.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert (scene.ends, scene.connections) == (["request_refused 403"], [])
    assert scene.request.cause == "not_allowed"


def test_one_without_an_address_is_not_denied(make_scene: MakeScene) -> None:
    scene = make_scene(
        routes=office_only(access=Access(deny=networks("0.0.0.0/0", "::/0"), needs_address=True))
    )
    scene.connect(ADMIN, address=UNIXAddress(None))
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["answered 200"]


@pytest.mark.parametrize(("reported", "status"), [(b"192.0.2.7", 200), (b"198.51.100.7", 403)])
def test_behind_a_trusted_proxy_the_reported_client_counts(
    make_scene: MakeScene, reported: bytes, status: int
) -> None:
    scene = make_scene(routes=office_only(), http={"trust": networks("10.1.0.0/16")})
    request = ADMIN.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: %b\r\n\r\n" % reported)
    scene.connect(request, address=IPv4Address("TCP", "10.1.0.1", 4711))
    for connection in scene.connections:
        scene.send(connection, HELLO)
    assert scene.request.status == status


def test_what_a_client_itself_reports_does_not_count(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only())
    scene.connect(ADMIN.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"), address=STRANGER)
    assert scene.ends == ["request_refused 403"]


def test_an_answer_of_the_route_is_refused_as_well(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only(pool=None, answer=FixedAnswer(200, None)))
    for address in (STRANGER, OFFICE):
        scene.connect(ADMIN, address=address)
    assert scene.ends == ["request_refused 403", "answered_here 200"]


def test_the_error_page_and_the_headers_of_the_route_are_in_the_answer(make_scene: MakeScene) -> None:
    page = Page(b"<p>not for you", "text/html")
    scene = make_scene(
        routes=office_only(response_headers=FieldEdits([(b"X-Frame-Options", b"DENY")])),
        http={"pages": {403: page}},
    )
    client = scene.connect(ADMIN, address=STRANGER)
    assert client.received.endswith(b"\r\n\r\n<p>not for you")
    assert b"\r\nX-Frame-Options: DENY\r\n" in client.received


def test_an_upload_is_refused_before_its_body(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only(body_size=10))
    head = b"POST /admin HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    client = scene.connect(head, address=STRANGER)
    # Its size is not told to one that may not send it.
    assert client.received.startswith(b"HTTP/1.1 403 ")
    assert (client.saw, scene.connections) == ("fin", [])
    client.finish()
    scene.run()


def test_refusals_do_not_add_up_to_a_ban(make_scene: MakeScene) -> None:
    limits = LimitsConfig(ban_after=2)
    scene = make_scene(
        routes=office_only(), admission=lambda clock: AdmissionControl(Access(), limits, clock)
    )
    client = scene.connect(ADMIN * 5, address=STRANGER)
    assert scene.admission is not None
    assert list(scene.admission.bans()) == []
    assert (client.received.count(b"HTTP/1.1 403 "), client.saw) == (5, "open")


def test_a_reload_counts_for_the_next_request_of_an_open_connection(make_scene: MakeScene) -> None:
    scene = make_scene(routes=office_only())
    client = scene.connect(ADMIN, address=STRANGER)
    frontend, context = scene.frontend, scene.frontend.context
    prepared = frontend.prepare_context(
        context.pool, context.timeouts, context.limits, None, None, context.connector
    )
    route = Route(name="admin", pool=scene.pool, access=Access(allow=networks("198.51.100.0/24")))
    routes = Routes([(only_for(paths=("/admin",)), route)], Route(pool=scene.pool))
    frontend.serve_by(frontend.prepare_http(prepared, context.http, routes))
    scene.send(client, ADMIN)
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["request_refused 403", "answered 200"]


def test_the_log_says_that_clients_were_refused(make_scene: MakeScene) -> None:
    with capturedLogs() as logged:
        scene = make_scene(routes=office_only())
        scene.connect(ADMIN, address=STRANGER)
    refused = [event for event in logged if "clients not served" in str(event["log_format"])]
    assert [(event["reason"], event["clients"], event["last"]) for event in refused] == [
        ("request_refused", 1, ", the last: not_allowed")
    ]
