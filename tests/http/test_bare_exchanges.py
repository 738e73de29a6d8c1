"""A request that is served bare is served as any other: the same bytes at both ends, records and counters.

Whatever clients and backends send, in whatever pieces, is played twice: with exchanges that do the usual
themselves, and with such as always make all that a request may need.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any
from unittest.mock import patch

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from support.http_scene import GET, HELLO, HTTP_SCENES, ONE, TWO, HttpScene, only_for
from support.network import no_logged_failure
from tcpbalance.admission.access import Access
from tcpbalance.admission.banned_networks import network_key
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.cookies import AffinityCookieConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.http import reported
from tcpbalance.http.bare_exchange import BareExchange
from tcpbalance.http.carried_body import LONG
from tcpbalance.http.exchange import Exchange
from tcpbalance.http.routes import FixedAnswer, Route
from tcpbalance.http.session import HttpSession
from tcpbalance.http.settings import HttpSettings
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.weighted_pools import WeightedPools
from tcpbalance.proxy import context as context_module
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.wire.http.head import ResponseHead
from tcpbalance.wire.http.head_reader import ResponseReader
from tcpbalance.wire.http.rewrite import FieldEdits

HEADER = b"PROXY TCP4 203.0.113.9 192.0.2.1 51111 443\r\n"
COOKIE = AffinityCookieConfig(name="backend", secret="a" * 16)
OTHER = IPv4Address("TCP", "198.51.100.8", 4711)
PROXIES = NetworkSet([ip_network("198.51.100.0/24")])
READ = 65536
"""Bytes that one read takes, and no more."""

Fields = tuple[bytes, ...]
Message = tuple[bytes, int]
"""Its bytes, and into how many pieces it is cut."""

HELLO_BODY = (b"Content-Length: 5", b"hello")

REQUEST: dict[str, list[Any]] = {
    "method": [b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"get"],
    "target": [b"/a/b?c=/../", b"/api/x", b"/old", b"//a", b"/%2f", b"*", b"http://b/a", b"a"],
    "version": [b"1.0"],
    "host": [
        b"hOST:b.example:81 ",
        b"Host: a b",
        b"Host:",
        b"X: y",
        b"Host: gone.example",
        b"Host: copied.example",
        b"Host: office.example",
    ],
    "field": [
        *[b"Connection: keep-alive", b"Connection: Keep-Alive", b"Connection: close", b"Connection: a, x-a"],
        *[b"Keep-Alive: 5", b"X-A: 1", b"x-request-id: theirs", b"X-Forwarded-For: 192.0.2.9", b"Host: b"],
        *[b"Content-Length: 0", b"Upgrade: websocket", b"Cookie: a=b", b"User-Agent:  a ", b"TE: trailers"],
        *[b"Content_Length: 0", b"Expect: 100-continue", b"Referer: http://b/"],
    ],
    "rest": [GET, b"\r\n"],
    "body": [
        HELLO_BODY,
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        (HELLO_BODY[0], b"hel"),
    ],
    "pieces": [2, 3, 5],
}
"""What a request may have that is not usual."""

RESPONSE = {
    "version": [b"1.0"],
    "status": [
        *[b"404 Not Found", b"204 No Content", b"304 Not Modified", b"503", b"199 A"],
        *[b"503 Service Unavailable", b"500 Internal Server Error"],
    ],
    "length": [
        *[b"content-length: 0005 ", b"Content-Length: 4", b"Content-Length: 6", b"Content-Length: +5"],
        *[b"Content-Length: 5\r\nContent-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 0"],
        b"X: y",
    ],
    "field": [
        *[b"Connection: keep-alive", b"Connection: close", b"connection: Keep-Alive", b"Keep-Alive: 5"],
        *[b"Date: then", b"Server: a", b"X-B: 2", b"Content-Type: text/event-stream", b"Set-Cookie: a=b"],
        *[b"Content_Length: 5", b"Proxy-Connection: a", b"TE: b"],
    ],
    "body": [b"", b"hell", b"hello!", b"5\r\nhello\r\n0\r\n\r\n"],
    "size": [60_000, READ, 100_000, LONG + READ],
    "pieces": [2, 3, 5],
}
"""The same of a response."""


def _deviations(of: dict[str, Any]) -> st.SearchStrategy[list[tuple[str, Any]]]:
    each = [(part, value) for part, values in of.items() for value in values]
    return st.lists(st.sampled_from(each), max_size=2)


def _message(first: bytes, deviations: list[tuple[str, Any]], parts: dict[str, Any]) -> Message:
    """Write a message.

    :param parts: those of a usual one.
    """
    fields = [value for part, value in deviations if part == "field"]
    parts = {**parts, **dict(deviations)}
    body = parts["body"]
    if isinstance(body, tuple):
        field, body = body
        fields.append(field)
    if "size" in parts:
        parts["length"] = b"Content-Length: %d" % parts["size"]
        body = b"a" * parts["size"]
    lines = [first, b"%(host)b%(length)b", *fields]
    head = b"".join(b"%b\r\n" % line for line in lines) % {
        name.encode(): value for name, value in parts.items()
    }
    return head + b"\r\n" + body + parts["rest"], parts["pieces"]


NOTHING = {"host": b"", "length": b"", "rest": b"", "body": b"", "pieces": 1}


@st.composite
def requests(draw: st.DrawFn) -> Message:
    """A request that is usual but for one or two things."""
    usual = {**NOTHING, "method": b"GET", "target": b"/", "version": b"1.1", "host": b"Host: a"}
    return _message(b"%(method)b %(target)b HTTP/%(version)b", draw(_deviations(REQUEST)), usual)


@st.composite
def responses(draw: st.DrawFn) -> Message:
    """A response likewise."""
    usual = {
        **NOTHING,
        "version": b"1.1",
        "status": b"200 OK",
        "length": b"Content-Length: 5",
        "body": b"hello",
    }
    return _message(b"HTTP/%(version)b %(status)b", draw(_deviations(RESPONSE)), usual)


def _edits(*fields: tuple[bytes, bytes], remove: Fields = ()) -> FieldEdits:
    return FieldEdits(fields, remove)


def _routes(pool: Any) -> list[Any]:
    edited = Route(
        name="edited",
        pool=pool,
        strip_prefix=b"/api",
        request_headers=_edits((b"X-Env", b"1"), (b"X-Request-Id", b"route"), remove=(b"Cookie",)),
        response_headers=_edits((b"X-C", b"3"), remove=(b"Date", b"X-B")),
        response_timeout=5.0,
    )
    return [
        (only_for(hosts=("gone.example",)), Route(name="gone", answer=FixedAnswer(410, None))),
        (only_for(paths=("/api/*",)), edited),
        (only_for(hosts=("a",), methods=("GET",)), Route(name="a", pool=pool)),
        (only_for(headers={"x-a": "1"}), Route(name="header", pool=pool)),
        (
            only_for(hosts=("office.example",)),
            Route(name="office", pool=pool, access=Access(deny=NetworkSet([ip_network("198.51.100.0/24")]))),
        ),
        (
            only_for(hosts=("copied.example",)),
            Route(name="copied", pools=WeightedPools({pool: 1}), mirror=pool),
        ),
    ]


OTHERS: list[dict[str, Any]] = [
    {"send": ("via", "x-request-id")},
    {"trust": PROXIES},
    {"server_header": "remove", "keepalive_requests": 2},
]
"""Settings that a reload may bring."""

EVENTS = ["reload", "ban", "drain", "ready", "down", "up", "remove", "another request"]
EVENTS += ["stop reading", "start reading"]
"""What may happen between two requests, or while one is under way."""

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "http": st.fixed_dictionaries(
            {},
            optional={
                "send": st.sampled_from(
                    [
                        (),
                        ("x-forwarded", "x-request-id"),
                        ("forwarded", "via", "x-real-ip"),
                        ("x-request-id",),
                    ]
                ),
                "trust": st.just(PROXIES),
                "server_header": st.just("remove"),
                "ambiguous_path": st.sampled_from(["reject", "keep"]),
                "keepalive_requests": st.integers(1, 3),
            },
        ),
        "pool_http": st.fixed_dictionaries(
            {},
            optional={
                "host": st.sampled_from(["backend", "b.example"]),
                "idle_connections": st.just(0),
                "response_timeout": st.just(2.0),
            },
        ),
        "routes": st.just(_routes),
        "limits": st.sampled_from(
            [{"bandwidth_per_connection": 100_000}, {"max_requests": 1}, {"requests_per_client": "1/s"}]
        ),
        "affinity": st.sampled_from([AffinityConfig(), AffinityConfig(by="cookie", cookie=COOKIE)]),
        "outlier": st.sampled_from(
            [
                OutlierConfig(consecutive_failures=1),
                OutlierConfig(consecutive_failures=2, statuses="500-504"),
            ]
        ),
        "balance": st.just(PeakEwmaPolicy),
        "timeouts": st.just({"max_connection_age": 4.0}),
        "slow_start": st.just(30.0),
        "queue": st.just(2),
        "send_proxy_protocol": st.just("v1"),
        "preread": st.just(PrereadSettings(PROXIES)),
    },
)


class Play:
    """One client, whose requests are answered one after the other."""

    def __init__(self, kind: type[HttpScene], how: dict[str, Any]) -> None:
        if "queue" in how:
            # Each play has its own.
            how = {**how, "members": [Backend(ONE, max_connections=1)]}
        self.scene = kind(
            {ONE: "accepts", TWO: "accepts"},
            admission=lambda clock: AdmissionControl(Access(), LimitsConfig(), clock),
            **how,
        )
        self._header = HEADER if "preread" in how else b""
        self.client = self.scene.connect(self._header)
        pool, reloads = self.scene.pool, itertools.cycle(OTHERS)
        first = pool.backends[0]
        self._events: dict[str, Callable[[], object]] = {
            "reload": lambda: self._reload(next(reloads)),
            "ban": self._ban,
            "drain": lambda: pool.set_admin_state(first, AdminState.DRAIN),
            "ready": lambda: pool.set_admin_state(first, AdminState.READY),
            "down": lambda: pool.mark_down(first, "refused"),
            "up": lambda: pool.mark_up(first),
            "remove": lambda: pool.replace([Backend(TWO)]),
            "another request": lambda: self.scene.connect(
                self._header.replace(b".9 ", b".8 ") + GET, address=OTHER
            ),
            "stop reading": self.client.stop_reading,
            "start reading": self.client.start_reading,
        }
        self._answered: dict[Any, int] = {}

    def send(self, peer: Any, message: Message) -> None:
        """Send a message in pieces."""
        data, pieces = message
        size = -(-len(data) // pieces)
        for at in range(0, len(data), size):
            if peer.saw == "open":
                self.scene.send(peer, data[at : at + size])

    def answer(self, response: Message, ends: bool) -> None:
        """Have each backend that waits with a request answer it, and perhaps close then."""
        for connection in self.scene.connections:
            count = connection.received.count(b"\r\n\r\n")
            if count > self._answered.get(connection, 0):
                self._answered[connection] = count
                self.send(connection, response)
                if ends and connection.saw == "open":
                    connection.finish()
                    self.scene.run()

    def happen(self, event: str | None) -> None:
        """Have one of ``EVENTS`` happen."""
        if event is not None:
            self._events[event]()
            self.scene.run()

    def _ban(self) -> None:
        assert self.scene.admission is not None
        for address in ("198.51.100.7", "203.0.113.9"):
            self.scene.admission.ban_for(network_key(ip_address(address).packed, 32), 600.0)

    def _reload(self, http: dict[str, Any]) -> None:
        frontend, context = self.scene.frontend, self.scene.frontend.context
        prepared = frontend.prepare_context(
            context.pool, context.timeouts, context.limits, None, None, context.connector
        )
        frontend.serve_by(frontend.prepare_http(prepared, HttpSettings(**http), context.routes))

    def outcome(self) -> Any:
        """Give all that shows outside, at the end."""
        self.client.start_reading()
        self.scene.run()
        self.client.finish()
        self.scene.advance(3.0)
        self.scene.leave()
        scene = self.scene
        assert scene.leftovers() == []
        return {
            "clients": [(client.received, client.saw) for client in scene.clients],
            "backends": [(one.received, one.saw) for one in scene.connections],
            "records": [attrs.asdict(record, recurse=False) for record in scene.records],
            "counters": (scene.frontend.stats.snapshot(), scene.pool.snapshot()),
        }


def play(
    kind: type[HttpScene], exchange: type[Exchange], how: dict[str, Any], script: list[tuple[Any, ...]]
) -> Any:
    names = (b"%016d" % number for number in itertools.count())
    with (
        no_logged_failure(),
        patch.object(HttpSession, "exchange_kind", exchange),
        patch.object(context_module, "AGE_JITTER", 0.0),
        patch.object(reported, "urandom", lambda size: next(names)),
    ):
        played = Play(kind, how)
        for request, response, ends, pause, *events in script:
            before, meanwhile = events or (None, None)
            played.happen(before)
            played.send(played.client, request)
            played.happen(meanwhile)
            played.answer(response, ends)
            played.scene.advance(pause)
        return played.outcome()


PAUSES = st.sampled_from([0.0, 0.0, 0.0, 2.5, 6.0])
HAPPENINGS = st.one_of(st.none(), st.sampled_from(EVENTS))
SCRIPTS = st.lists(
    st.tuples(requests(), responses(), st.sampled_from([False] * 4 + [True]), PAUSES, HAPPENINGS, HAPPENINGS),
    max_size=5,
)


def _asking_for(path: bytes, host: bytes = b"a") -> tuple[Any, ...]:
    return (GET.replace(b"/", path, 1).replace(b"www.example.com", host), 1), (HELLO, 1), False, 0.0


USUAL = _asking_for(b"/")
POST = (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 1), (HELLO, 1), False, 0.0
OLD = (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", 1), (HELLO, 1), False, 0.0
CLOSING = (b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1), (HELLO, 1), False, 0.0
BUSY = *USUAL[:1], (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nhello", 1), False, 0.0


def _with_body(size: int) -> tuple[Any, ...]:
    return *USUAL[:1], (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size, 1), False, 0.0


def _when(
    step: tuple[Any, ...], before: str | None = None, meanwhile: str | None = None, pause: float = 0.0
) -> tuple[Any, ...]:
    """Have something happen before a request is sent, or before it is answered."""
    return *step[:3], pause, before, meanwhile


@pytest.mark.parametrize("kind", HTTP_SCENES)
@settings(max_examples=300)
@given(SETTINGS, SCRIPTS)
@example({}, [USUAL, USUAL, ((GET, 3), (HELLO, 3), False, 0.0), USUAL])
@example({}, [USUAL, ((GET + GET, 1), (HELLO, 1), True, 0.0)])
@example({"http": {"send": ("x-forwarded", "x-request-id")}, "routes": _routes}, [USUAL, USUAL])
@example({"routes": _routes}, [_asking_for(b"/api/x"), _asking_for(b"/%61pi/x")])
@example({"http": {"ambiguous_path": "reject"}}, [_asking_for(b"//a")])
@example({"routes": _routes}, [_asking_for(b"/", b"copied.example")] * 2)
@example({"preread": PrereadSettings(PROXIES)}, [USUAL, USUAL])
@example({}, [USUAL, POST, POST, USUAL, CLOSING])
@example({}, [USUAL, OLD])
@example({"affinity": AffinityConfig(by="cookie", cookie=COOKIE)}, [POST, USUAL, POST])
@example({"balance": PeakEwmaPolicy}, [_when(USUAL, pause=2.5), USUAL, POST, USUAL, USUAL])
@example({}, [USUAL, _when(USUAL, "reload"), _when(USUAL, None, "reload"), _when(USUAL, None, "reload")])
@example({}, [USUAL, _when(USUAL, None, "ban"), USUAL])
@example({"timeouts": {"max_connection_age": 4.0}}, [_when(USUAL, pause=2.5), _when(USUAL, pause=1.6), USUAL])
@example({}, [USUAL, _when(_with_body(LONG + READ), "stop reading"), _when(USUAL, None, "start reading")])
@example({}, [_with_body(60_000), _when(_with_body(60_000), "stop reading"), *[_with_body(60_000)] * 5])
@example(
    {},
    [
        _when(_with_body(60_000), "stop reading"),
        *[_with_body(60_000)] * 2,
        *[_when(USUAL, "start reading")] * 2,
    ],
)
@example({}, [USUAL, USUAL, _when(USUAL, "drain"), _when(USUAL, None, "ready"), _when(USUAL, None, "remove")])
@example({"slow_start": 30.0}, [USUAL, USUAL, _when(USUAL, "down"), _when(USUAL, "up"), USUAL, USUAL])
@example({"queue": 2}, [USUAL, _when(USUAL, None, "another request"), USUAL, USUAL])
@example({"outlier": OutlierConfig(consecutive_failures=2, statuses="500-504")}, [USUAL, USUAL, *[BUSY] * 5])
def test_a_bare_exchange_is_like_any_other(
    kind: type[HttpScene], how: dict[str, Any], script: list[tuple[Any, ...]]
) -> None:
    assert play(kind, BareExchange, how, script) == play(kind, Exchange, how, script)


@pytest.mark.parametrize("kind", HTTP_SCENES)
def test_the_usual_request_makes_no_response(kind: type[HttpScene]) -> None:
    with patch("tcpbalance.http.bare_exchange.Response", side_effect=AssertionError):
        play(kind, BareExchange, {}, [USUAL, USUAL])


@pytest.mark.parametrize("kind", HTTP_SCENES)
def test_a_head_that_comes_in_pieces_is_looked_at_once_a_piece(kind: type[HttpScene]) -> None:
    read, seen = ResponseReader.read, []

    def looked(reader: ResponseReader, data: bytes) -> ResponseHead | None:
        seen.append(data)
        return read(reader, data)

    with patch.object(ResponseReader, "read", looked):
        play(kind, BareExchange, {}, [(USUAL[0], (HELLO, 3), False, 0.0)])
    size = -(-len(HELLO) // 3)
    assert seen == [HELLO[:size], HELLO[: 2 * size], HELLO]
