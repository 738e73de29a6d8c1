"""What explain says of a request is what the next request comes to, and nothing changes by asking."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from twisted.internet.address import IPv4Address
from twisted.logger import capturedLogs

from support.http_scene import HELLO, ONE, TWO, HttpScene, only_for
from support.network import no_logged_failure
from support.whole_state import state_of
from tcpbalance.admission.access import Access
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import Network
from tcpbalance.config.cookies import CookieConfig
from tcpbalance.config.destinations import Destination
from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.config.quantities import Rate
from tcpbalance.config.route_values import RedirectTarget
from tcpbalance.config.routes import WEBSOCKET, HttpRouteConfig
from tcpbalance.control.explain import explain, put_together
from tcpbalance.control.explain_query import read_explain_query
from tcpbalance.control.in_pieces import at_once
from tcpbalance.http.connect.destinations import Destinations
from tcpbalance.http.connect.settings import ConnectSettings
from tcpbalance.http.record import RequestRecord
from tcpbalance.http.routes import FixedAnswer, PoolsCookie, Redirect, Route
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.weighted_pools import WeightedPools
from tcpbalance.wire.http.rewrite import FieldEdits

MakeScene = Callable[..., HttpScene]

PROXY, CLIENTS = "10.1.0.1", [f"198.51.100.{host}" for host in range(1, 4)]
SECRET = b"swordfish"
OFFICE = NetworkSet([Network.parse(CLIENTS[1]).network, Network.parse("203.0.113.9").network])
OTHER = "10.0.0.9:80"

REQUESTS = [
    "GET http://www.example.com/",
    "GET http://www.example.com/api/users?x=1#top",
    "POST http://www.example.com/api",
    "GET http://www.example.com/old/page",
    "GET http://www.example.com/gone",
    "GET http://shared.example.com/",
    "GET http://office.example.com/",
    "GET http://www.example.com/api/%2e%2e/x",
    "GET http://other.example/",
    "OPTIONS http://www.example.com",
    "TRACE http://www.example.com/",
    "GET http://a..b_/",
    "GET /without/host",
    "CONNECT 10.0.9.9:5432",
    "CONNECT 10.0.9.9:22",
    "CONNECT no/host:22",
]

FIELDS = [
    "X-Version: 2",
    "Accept: */*",
    "X-Forwarded-For: 203.0.113.9",
    "Connection: upgrade\nUpgrade: websocket",
    "X-Token: mine",
    "Content-Length: 999999",
    "Transfer-Encoding: gzip",
    "Expect: a-miracle",
]


LIMITS: list[dict[str, Any]] = [
    {},
    {"max_requests": 2},
    {"requests_per_client": Rate(1)},
    {"max_requests": 3, "requests_per_client": Rate(2), "request_burst_per_client": 4},
    {"max_requests": 1, "requests_per_client": Rate(1), "dry_run": True},
]


class Routed:
    """The routes of a scene."""

    def __init__(self, is_by_cookie: bool) -> None:
        self.is_by_cookie = is_by_cookie
        self.other: Pool | None = None

    def __call__(self, pool: Pool) -> Sequence[tuple[HttpRouteConfig, Route]]:
        self.other = Pool("other", [Backend(OTHER)], clock=pool.clock)

        def route(made: Route, **conditions: Any) -> tuple[HttpRouteConfig, Route]:
            return HttpRouteConfig(**{"answer": {"status": 200}, **conditions}), made

        edits = FieldEdits([(b"X-Token", SECRET)], [b"Accept"])
        return [
            route(
                Route(name="api", pool=pool, strip_prefix=b"/api", request_headers=edits, body_size=1000),
                hosts=["www.example.com"],
                paths=["/api/*"],
            ),
            route(
                Route(name="new", pool=self.other, headers=((b"x-version", b"2"),), upgrade=frozenset()),
                hosts=["www.example.com"],
                paths=["/api/*"],
                headers={"X-Version": "2"},
            ),
            route(
                Route(name="old", redirect=Redirect(308, RedirectTarget.parse("https://{host}/new{path}"))),
                paths=["/old/*"],
            ),
            route(Route(name="gone", answer=FixedAnswer(410, None)), paths=["/gone"]),
            route(Route(name="office", pool=pool, access=Access(allow=OFFICE)), hosts=["office.example.com"]),
            route(
                Route(
                    name="shared",
                    pools=WeightedPools({pool: 2, self.other: 1}),
                    pools_cookie=PoolsCookie(CookieConfig()) if self.is_by_cookie else None,
                    upgrade=frozenset({WEBSOCKET}),
                ),
                hosts=["shared.example.com"],
            ),
        ]


def asked(scene: HttpScene, client: str, request: str, fields: Sequence[str] = ()) -> dict[str, Any]:
    """Ask, and see that nothing changes by that."""
    said = {"frontend": "frontend", "client": client, "request": request}
    query = read_explain_query({**said, "headers": "\n".join(fields)} if fields else said)
    frontend = scene.frontend
    pools = list(frontend.context.pools)
    whole = (pools, frontend.context, frontend.stats, scene.network.clock.getDelayedCalls())
    before = state_of(*whole)
    with capturedLogs() as logged:
        answer = put_together(at_once(explain(frontend, query, [])))
    # Not all of it, which would be long to show.
    assert [pair for pair in zip_longest(before, state_of(*whole)) if pair[0] != pair[1]] == []
    assert logged == []
    return answer


def data_of(request: str, fields: Sequence[str]) -> bytes:
    """Write the head that a client sends."""
    method, url = request.split()
    lines = list(fields)
    if url.startswith("http"):
        host, slash, path = url.removeprefix("http://").partition("#")[0].partition("/")
        lines, url = [f"Host: {host}", *lines], slash + path or "/"
    elif method == "CONNECT":
        lines = [f"Host: {url}", *lines]
    text = "\n".join((f"{method} {url} HTTP/1.1", *lines, "", ""))
    return text.replace("\n", "\r\n").encode()


def without_secrets(head: bytes) -> list[str]:
    lines = head.partition(b"\r\n\r\n")[0].replace(SECRET, HIDDEN.encode())
    return lines.decode().split("\r\n")


class ExplainedRequests(RuleBasedStateMachine):
    """Requests that are explained before they come, while all that decides about them changes."""

    scene_kind: type[HttpScene] = HttpScene

    @initialize(
        policy=st.sampled_from([RoundRobin, LeastConnections, SourceHash]),
        limits=st.sampled_from(LIMITS),
        maximum=st.none() | st.integers(1, 2),
        queue=st.sampled_from([0, 1]),
        host=st.sampled_from(["client", "backend", "inside.example"]),
        has_default=st.booleans(),
        is_by_cookie=st.booleans(),
        strict=st.sampled_from(["reject", "keep"]),
    )
    def build(
        self,
        policy: Any,
        limits: dict[str, Any],
        maximum: int | None,
        queue: int,
        host: str,
        has_default: bool,
        is_by_cookie: bool,
        strict: str,
    ) -> None:
        self.logged = no_logged_failure()
        self.logged.__enter__()
        trust = NetworkSet([Network.parse(PROXY).network])
        self.scene = self.scene_kind(
            (ONE, TWO, OTHER),
            members=[Backend(address, max_connections=maximum) for address in (ONE, TWO)],
            limits=limits,
            routes=Routed(is_by_cookie),
            has_default=has_default,
            http={
                "trust": trust,
                "ambiguous_path": strict,
                "server_header": "remove",
                "connect": ConnectSettings(
                    Destinations([Destination.parse("10.0.9.9:5432")], is_own=lambda ip: False),
                    clients=NetworkSet([Network.parse("10.1.0.0/31").network]) if has_default else None,
                ),
            },
            pool_http={"host": host, "retry_on": []},
            balance=policy,
            affinity=AffinityConfig(by="cookie") if is_by_cookie else None,
            queue=queue,
            retries=0,
        )
        self.scene.network.backend("10.0.9.9:5432", "accepts")
        self.unanswered: list[Any] = []
        self.cookies = ["tcpbalance_pools=00000a"]

    @rule(
        client=st.sampled_from([*CLIENTS, PROXY]),
        request=st.sampled_from(REQUESTS),
        fields=st.lists(st.sampled_from(FIELDS), max_size=2, unique=True),
        cookie=st.none() | st.integers(0, 10**6),
        is_answered=st.booleans(),
    )
    def comes(
        self, client: str, request: str, fields: list[str], cookie: int | None, is_answered: bool
    ) -> None:
        scene = self.scene
        if cookie is not None:
            fields = [*fields, f"Cookie: {self.cookies[cookie % len(self.cookies)]}"]
        said = asked(scene, client, request, fields)
        known = {connection: len(connection.received) for connection in scene.connections}
        records = len(scene.requests)
        waiting = scene.pool.snapshot()["queue_total"]
        peer = scene.connect(data_of(request, fields), address=IPv4Address("TCP", client, 4711))
        sent = {
            address: connection.received[known.get(connection, 0) :]
            for address, backend in scene.backends.items()
            for connection in backend.connections
            if len(connection.received) > known.get(connection, 0)
        }
        if said["outcome"] == "connects":
            self.is_sent(said, sent)
            if is_answered:
                self.is_answered()
                self.cookies += re.findall(r"Set-Cookie: ([^;]+)", peer.received.decode())
            return
        assert (sent, said["request"]["sent"]) == ({}, None)
        if said["outcome"] == "tunnels":
            assert peer.received.startswith(b"HTTP/1.1 200 Connection established")
        elif said["outcome"] == "queued":
            assert scene.pool.snapshot()["queue_total"] == waiting + 1
        else:
            self.is_refused(said, peer, scene.requests[records])

    def is_sent(self, said: dict[str, Any], sent: dict[str, bytes]) -> None:
        ((address, head),) = sent.items()
        if said["pool"]["exact"]:
            assert address == said["pool"]["candidates"][0]["address"]
            assert without_secrets(head) == said["request"]["sent"]
        self.unanswered.append(next(it for it in self.scene.connections if it.received.endswith(head)))

    def is_refused(self, said: dict[str, Any], peer: Any, record: RequestRecord) -> None:
        request = said["request"]
        assert (record.reason.word, record.cause) == (said["outcome"], request["cause"] or "")
        assert peer.received.startswith(b"HTTP/1.1 %d " % (request["status"] or 503))
        location = request["location"]
        assert (b"\r\nLocation: " in peer.received) is (location is not None)
        assert location is None or f"\r\nLocation: {location}\r\n".encode() in peer.received
        assert said["outcome"] != "rate_limited" or request["limits"]["next_in"] > 0

    @rule()
    def is_answered(self) -> None:
        if self.unanswered:
            connection = self.unanswered.pop()
            if connection.saw == "open":
                self.scene.send(connection, HELLO)

    @rule(which=st.integers(0, 1), state=st.sampled_from(AdminState))
    def is_set(self, which: int, state: AdminState) -> None:
        self.scene.pool.set_admin_state(self.scene.pool.backends[which], state)
        self.scene.run()

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.scene.advance(seconds)

    def teardown(self) -> None:
        if hasattr(self, "scene"):
            self.scene.leave()
            self.logged.__exit__(None, None, None)


TestExplainedRequests = ExplainedRequests.TestCase
TestExplainedRequests.settings = settings(max_examples=25, stateful_step_count=15)


def test_it_says_which_pool_gets_a_copy(make_scene: MakeScene) -> None:
    copies = Pool("copies", [Backend(TWO)])

    def mirrored(pool: Pool) -> Sequence[tuple[HttpRouteConfig, Route]]:
        return [(only_for(), Route(name="site", pool=pool, mirror=copies))]

    scene = make_scene((ONE, TWO), members=[Backend(ONE)], routes=mirrored)
    url = "GET http://www.example.com/"
    assert asked(scene, CLIENTS[0], url)["request"]["mirror"] == "copies"
    assert (
        asked(scene, CLIENTS[0], url, ["Connection: upgrade", "Upgrade: websocket"])["request"]["mirror"]
        is None
    )
