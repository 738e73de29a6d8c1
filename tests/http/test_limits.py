"""Limits on requests: how many are under way, and how fast those of one client may come."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import capturedLogs

from support.http_scene import GET, HELLO, ONE, HttpScene, only_for
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.quantities import Rate
from tcpbalance.http.routes import FixedAnswer, Route
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

MakeScene = Callable[..., HttpScene]

EACH_SECOND = {"requests_per_client": Rate(1)}


def here(_: Pool) -> Sequence[tuple[Any, Route]]:
    """Give a route that is answered at once."""
    return [(only_for(), Route(answer=FixedAnswer(200, None)))]


def statuses(client: Any) -> list[bytes]:
    """Give the statuses of all responses that a client has got."""
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", client.received)


def limit_by(scene: HttpScene, **limits: Any) -> None:
    """Have other limits hold, as a reload does."""
    frontend, context = scene.frontend, scene.frontend.context
    prepared = frontend.prepare_context(
        context.pool, context.timeouts, LimitsConfig(**limits), None, None, context.connector
    )
    frontend.serve_by(frontend.prepare_http(prepared, context.http, context.routes))


class TestRate:
    def test_what_comes_too_fast_is_told_when_to_come_again(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits={"requests_per_client": Rate(6, 60.0)}, routes=here)
        client = scene.connect(GET)
        scene.advance(3.5)
        scene.send(client, GET)
        head = client.received.rpartition(b"HTTP/1.1 429 Too Many Requests\r\n")[2]
        assert b"Retry-After: 7\r\n" in head
        assert (statuses(client), client.saw) == ([b"200", b"429"], "open")
        scene.advance(6.5)
        scene.send(client, GET)
        assert scene.ends == ["answered_here 200", "rate_limited 429", "answered_here 200"]

    def test_one_that_is_refused_does_not_use_it_up(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits=EACH_SECOND, routes=here)
        client = scene.connect(GET * 5)
        scene.advance(1.0)
        scene.send(client, GET)
        assert statuses(client) == [b"200", *[b"429"] * 4, b"200"]

    def test_the_burst_is_served_whole(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits={**EACH_SECOND, "request_burst_per_client": 4}, routes=here)
        assert statuses(scene.connect(GET * 6)) == [b"200"] * 4 + [b"429"] * 2

    def test_it_is_that_of_all_connections_of_a_network(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits=EACH_SECOND, routes=here)
        for host in (1, 2):
            scene.connect(GET, address=IPv6Address("TCP", f"2001:db8::{host}", 4711))
        scene.connect(GET, address=IPv6Address("TCP", "2001:db8:0:1::1", 4711))
        assert [record.status for record in scene.requests] == [200, 429, 200]

    def test_one_without_an_address_has_no_rate(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits=EACH_SECOND, routes=here)
        assert statuses(scene.connect(GET * 3, address=UNIXAddress(None))) == [b"200"] * 3

    def test_behind_a_trusted_proxy_it_is_that_of_the_reported_client(self, make_scene: MakeScene) -> None:
        trust = NetworkSet([ip_network("10.1.0.0/16")])
        scene = make_scene(limits=EACH_SECOND, routes=here, http={"trust": trust})
        client = scene.connect(address=IPv4Address("TCP", "10.1.0.1", 4711))
        for name in (b"192.0.2.1", b"192.0.2.2", b"192.0.2.1"):
            scene.send(client, GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: %b\r\n\r\n" % name))
        assert statuses(client) == [b"200", b"200", b"429"]

    def test_the_backend_does_not_see_what_is_refused(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits=EACH_SECOND)
        client = scene.connect(GET)
        scene.send(scene.connection, HELLO)
        scene.send(client, GET)
        assert scene.connection.received.count(b"GET / ") == 1
        assert scene.ends == ["answered 200", "rate_limited 429"]

    def test_the_rest_of_an_upload_that_is_refused_is_read_and_dropped(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits=EACH_SECOND, routes=here)
        client = scene.connect(GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        assert (statuses(client), client.saw) == ([b"200", b"429"], "fin")
        scene.send(client, b"llo")
        client.finish()
        scene.run()

    def test_what_is_no_request_is_not_counted(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits=EACH_SECOND, routes=here)
        for data in (b"nonsense\r\n\r\n", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", GET):
            scene.connect(data)
        assert [record.status for record in scene.requests] == [400, 400, 200]


class TestUnderWay:
    def test_beyond_as_many_as_there_may_be_is_refused(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits={"max_requests": 2})
        _, _, third = (scene.connect(GET) for _ in range(3))
        assert statuses(third) == [b"503"]
        assert b"Retry-After: 1\r\n" in third.received
        scene.send(scene.connections[0], HELLO)
        scene.send(third, GET)
        for connection in scene.connections:
            scene.send(connection, HELLO)
        assert scene.ends == ["max_requests 503", *["answered 200"] * 3]
        assert scene.frontend.stats.snapshot()["requests_ended.max_requests"] == 1

    @pytest.mark.parametrize("end", ["reset", "cut", "deadline"])
    def test_however_one_ends_another_may_come(self, make_scene: MakeScene, end: str) -> None:
        scene = make_scene(limits={"max_requests": 1}, pool_http={"response_timeout": 5.0})
        client = scene.connect(GET.replace(b"GET", b"PATCH"))
        if end == "reset":
            client.reset()
        elif end == "cut":
            scene.connection.reset()
        else:
            scene.advance(6.0)
        scene.run()
        assert statuses(scene.connect(GET)) == []
        assert statuses(scene.connect(GET)) == [b"503"]

    def test_one_that_waits_in_the_queue_is_under_way(self, make_scene: MakeScene) -> None:
        scene = make_scene(
            members=[Backend(ONE, max_connections=1)], queue=5, queue_timeout=3.0, limits={"max_requests": 2}
        )
        waiting = [scene.connect(GET) for _ in range(2)][1]
        assert statuses(scene.connect(GET)) == [b"503"]
        scene.advance(4.0)
        assert scene.ends[-1] == "queue_timeout 503"
        assert statuses(waiting) == [b"503"]
        assert statuses(scene.connect(GET)) == []

    def test_an_upgraded_connection_is_under_way_until_it_ends(self, make_scene: MakeScene) -> None:
        def upgrades(pool: Pool) -> Sequence[tuple[Any, Route]]:
            return [(only_for(), Route(pool=pool, upgrade=frozenset(["websocket"])))]

        scene = make_scene(limits={"max_requests": 1}, routes=upgrades)
        wanted = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        client = scene.connect(wanted)
        changed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        scene.send(scene.connection, changed)
        assert statuses(scene.connect(GET)) == [b"503"]
        client.reset()
        scene.run()
        assert statuses(scene.connect(GET)) == []

    def test_a_request_that_is_refused_does_not_use_up_the_rate(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits={"max_requests": 1, **EACH_SECOND})
        scene.connect(GET, address=IPv4Address("TCP", "198.51.100.1", 1))
        client = scene.connect(GET, address=IPv4Address("TCP", "198.51.100.2", 1))
        scene.send(scene.connection, HELLO)
        scene.send(client, GET)
        assert scene.ends == ["max_requests 503", "answered 200"]
        assert statuses(client) == [b"503"]

    def test_nor_does_one_beyond_the_rate_take_a_place(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits={"max_requests": 2, **EACH_SECOND})
        one, other = (IPv4Address("TCP", f"198.51.100.{host}", 1) for host in (1, 2))
        came = [statuses(scene.connect(GET, address=address)) for address in (one, one, other)]
        assert came == [[], [b"429"], []]


class TestDryRun:
    def test_all_are_served_and_counted(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits={"max_requests": 1, **EACH_SECOND, "dry_run": True})
        clients = [
            scene.connect(GET, address=IPv4Address("TCP", f"198.51.100.{host}", 1)) for host in (1, 2, 2)
        ]
        for connection in scene.connections:
            scene.send(connection, HELLO)
        for _ in range(2):
            scene.send(clients[2], GET)
            scene.send(scene.connections[2], HELLO)
        # As if they had been refused, those beyond max_requests have not used up the rate.
        assert [statuses(client) for client in clients] == [[b"200"], [b"200"], [b"200"] * 3]
        counts = scene.frontend.stats.snapshot()
        assert (counts["would_limit.max_requests"], counts["would_limit.requests_per_client"]) == (2, 1)


class TestReload:
    def test_what_is_known_stays(self, make_scene: MakeScene) -> None:
        scene = make_scene(limits={"max_requests": 2, **EACH_SECOND})
        client = scene.connect(GET)
        limit_by(scene, max_requests=1, requests_per_client=Rate(2, 60.0))
        other = IPv4Address("TCP", "198.51.100.9", 1)
        assert statuses(scene.connect(GET, address=other)) == [b"503"]
        scene.send(scene.connection, HELLO)
        scene.send(client, GET)
        assert statuses(client) == [b"200", b"429"]

    def test_on_open_connections_the_next_request_is_the_first_that_is_limited(
        self, make_scene: MakeScene
    ) -> None:
        scene = make_scene(routes=here)
        client = scene.connect(GET)
        limit_by(scene, **EACH_SECOND)
        scene.send(client, GET * 2)
        limit_by(scene)
        scene.send(client, GET)
        assert statuses(client) == [b"200", b"200", b"429", b"200"]

    def test_one_that_is_under_way_when_there_is_no_limit_for_a_while_still_counts(
        self, make_scene: MakeScene
    ) -> None:
        scene = make_scene(limits={"max_requests": 1})
        scene.connect(GET)
        limit_by(scene)
        uncounted = scene.connect(GET)
        limit_by(scene, max_requests=1)
        assert statuses(scene.connect(GET)) == [b"503"]
        uncounted.reset()
        scene.run()
        assert statuses(scene.connect(GET)) == [b"503"]
        scene.send(scene.connections[0], HELLO)
        assert statuses(scene.connect(GET)) == []


def test_the_log_says_that_requests_were_refused(make_scene: MakeScene) -> None:
    with capturedLogs() as logged:
        scene = make_scene(limits=EACH_SECOND, routes=here)
        scene.connect(GET * 3)
        scene.advance(2.0)
    refused = [event for event in logged if "clients not served" in str(event["log_format"])]
    assert [(event["reason"], event["clients"]) for event in refused] == [("rate_limited", 1)] * 2
