"""Copies of requests for another pool: what they are, and that clients never notice."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from support.http_scene import GET, HELLO, HTTP_SCENES, ONE, THREE, TWO, HttpScene, http_scenes, only_for
from tcpbalance.config.http import PoolHttpConfig
from tcpbalance.config.routes import HttpRouteConfig
from tcpbalance.http.mirrored_request import MAX_COPIED_BODY, MAX_DISCARDED, MirroredRequest
from tcpbalance.http.mirrors import MAX_COPIES
from tcpbalance.http.routes import Route, Routes
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Pool
from tcpbalance.wire.http.chunks import MAX_CHUNKS
from tcpbalance.wire.http.rewrite import FieldEdits

MakeScene = Callable[..., HttpScene]

POST = b"POST /form HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /form HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"


class Mirrored:
    """The routes of a scene: one to its pool, whose requests are copied to another one.

    :param backend: arguments of the backend of the other pool.
    :param http: keys of its ``http`` table.
    :param route: further arguments of the route.
    :ivar pool: the other pool, once it is made.
    """

    def __init__(
        self, *, backend: dict[str, Any] | None = None, route: dict[str, Any] | None = None, **http: Any
    ) -> None:
        self._backend, self._route, self._http = backend or {}, route or {}, http
        self.pool: Pool

    def __call__(self, pool: Pool) -> Sequence[tuple[HttpRouteConfig, Route]]:
        members = [Backend(TWO, **self._backend)]
        self.pool = Pool("mirror", members, clock=pool.clock, retries=0, http=PoolHttpConfig(**self._http))
        route = Route(name="site", pool=Pool("web", [Backend(ONE)], clock=pool.clock), mirror=self.pool)
        return [(only_for(), attrs.evolve(route, **self._route))]

    @property
    def active(self) -> int:
        """The copies that its backend is thought to have."""
        return self.pool.backends[0].active


def site(make_scene: MakeScene, mirrored: Mirrored, behaviour: str = "accepts", **how: Any) -> HttpScene:
    return make_scene({ONE: "accepts", TWO: behaviour}, routes=mirrored, has_default=False, **how)


def counts(scene: HttpScene) -> dict[str, int]:
    """Give the counters of copies."""
    found = scene.frontend.stats.snapshot()
    return {name.removeprefix("mirrored."): found[name] for name in found if name.startswith("mirrored")}


def answer(scene: HttpScene, address: str = ONE, response: bytes = HELLO) -> None:
    scene.send(scene.backends[address].connections[-1], response)


def test_both_pools_get_the_request_and_the_client_one_response(make_scene: MakeScene) -> None:
    mirrored = Mirrored(route={"request_headers": FieldEdits([(b"X-Env", b"prod")])})
    scene = site(make_scene, mirrored)
    client = scene.connect(GET.replace(b"\r\n\r\n", b"\r\nCookie: a=b\r\nAuthorization: Basic eDp5\r\n\r\n"))
    web, mirror = scene.connections
    assert mirror.received == web.received
    assert b"\r\nX-Env: prod\r\n" in mirror.received
    assert mirrored.active == 1
    answer(scene, TWO, HELLO.replace(b"hello", b"other"))
    assert (client.received, mirrored.active, counts(scene)) == (b"", 0, {"answered": 1})
    answer(scene)
    assert client.received.endswith(b"hello")
    assert (scene.request.pool, scene.request.backend) == ("web", ONE)
    assert mirrored.pool.snapshot()["responses.2xx"] == 1


def test_the_next_copies_use_the_same_connection(make_scene: MakeScene) -> None:
    scene = site(make_scene, Mirrored())
    client = scene.connect(GET)
    for _ in range(3):
        answer(scene, TWO)
        answer(scene)
        scene.send(client, GET)
    (mirror,) = scene.backends[TWO].connections
    assert mirror.received.count(b"GET / ") == 4


@pytest.mark.parametrize("behaviour", ["refuses", "hangs", "resets_at_once", "lacks_descriptor"])
def test_a_pool_that_cannot_be_reached_is_no_concern_of_the_client(
    make_scene: MakeScene, behaviour: str
) -> None:
    mirrored = Mirrored()
    scene = site(make_scene, mirrored, behaviour)
    client = scene.connect(GET)
    answer(scene)
    assert (client.received.endswith(b"hello"), scene.ends) == (True, ["answered 200"])
    scene.advance(100)
    assert (mirrored.active, sum(counts(scene).values())) == (0, 1)


def test_the_log_says_at_its_lowest_level_that_copies_have_failed(make_scene: MakeScene) -> None:
    with capturedLogs() as logged:
        scene = site(make_scene, Mirrored(), "refuses")
        for _ in range(5):
            scene.connect(GET)
        scene.advance(3.0)
    lines = [event for event in logged if "copies" in str(event["log_format"])]
    assert {event["log_level"].name for event in lines} == {"debug"}
    assert sum(event["total"] for event in lines) == 5
    assert len(lines) == 2
    assert (lines[0]["reasons"], lines[0]["pool"]) == ("connect_failed: 1", "mirror")


def test_it_says_nothing_of_those_that_are_answered(make_scene: MakeScene) -> None:
    with capturedLogs() as logged:
        scene = site(make_scene, Mirrored())
        scene.connect(GET)
        answer(scene, TWO)
        scene.advance(3.0)
    assert [event for event in logged if "copies" in str(event["log_format"])] == []


def test_no_copy_is_sent_where_no_backend_is_free_and_none_waits_for_one(make_scene: MakeScene) -> None:
    mirrored = Mirrored(backend={"max_connections": 1})
    scene = site(make_scene, mirrored)
    scene.connect(GET)
    scene.connect(GET)
    assert (mirrored.active, counts(scene)) == (1, {"no_backend": 1})
    mirrored.pool.set_admin_state(mirrored.pool.backends[0], AdminState.MAINTENANCE)
    scene.connect(GET)
    assert counts(scene) == {"no_backend": 2}


def test_a_copy_whose_backend_fails_does_not_wait_for_another_in_the_queue(make_scene: MakeScene) -> None:
    pools: list[Pool] = []

    def routes(pool: Pool) -> Sequence[tuple[HttpRouteConfig, Route]]:
        members = [Backend(TWO), Backend(THREE, max_connections=1)]
        pools.append(Pool("mirror", members, clock=pool.clock, balance=RoundRobin, queue=5))
        return [(only_for(), Route(name="site", pool=pool, mirror=pools[0]))]

    scene = make_scene(
        {ONE: "accepts", TWO: "refuses", THREE: "accepts"}, routes=routes, members=[Backend(ONE)]
    )
    scene.connect(GET)
    scene.connect(GET)
    assert counts(scene) == {"no_backend": 1}
    assert [backend.active for backend in pools[0].backends] == [0, 1]
    answer(scene, THREE)
    assert pools[0].snapshot()["queue_active"] == 0


def test_a_request_that_cannot_be_served_is_copied_all_the_same(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "refuses", TWO: "accepts"}, routes=Mirrored(), has_default=False)
    client = scene.connect(GET)
    scene.advance(30)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert scene.backends[TWO].connection.received.startswith(b"GET / ")


# Bodies


@pytest.mark.parametrize("head", [POST % 10, CHUNKED])
@pytest.mark.parametrize("cuts", [[b"0123456789"], [b"0", b"12345678", b"9"]])
def test_a_body_is_copied_once_it_is_whole(make_scene: MakeScene, head: bytes, cuts: list[bytes]) -> None:
    scene = site(make_scene, Mirrored())
    client = scene.connect(head)
    for number, piece in enumerate(cuts, 1):
        assert not scene.backends[TWO].connections
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if head == CHUNKED else piece
        scene.send(client, framed + b"0\r\n\r\n" * (head == CHUNKED and number == len(cuts)))
    web, mirror = scene.connections
    assert mirror.received == web.received
    answer(scene, TWO)
    answer(scene)
    assert counts(scene) == {"answered": 1}


def test_a_body_that_came_with_the_head_is_copied(make_scene: MakeScene) -> None:
    scene = site(make_scene, Mirrored())
    scene.connect(POST % 3 + b"abc" + GET)
    assert scene.backends[TWO].connections[0].received.endswith(b"\r\n\r\nabc")


def test_the_longest_body_that_is_copied(make_scene: MakeScene) -> None:
    scene = site(make_scene, Mirrored())
    client = scene.connect(POST % MAX_COPIED_BODY)
    scene.send(client, bytes(MAX_COPIED_BODY))
    assert scene.backends[TWO].connection.received.endswith(bytes(MAX_COPIED_BODY))


def test_longer_bodies_are_not_copied(make_scene: MakeScene) -> None:
    scene = site(make_scene, Mirrored())
    scene.connect(POST % (MAX_COPIED_BODY + 1))
    client = scene.connect(CHUNKED)
    for _ in range(9):
        scene.send(client, b"2000\r\n" + bytes(0x2000) + b"\r\n")
    scene.send(client, b"0\r\n\r\n")
    assert (scene.backends[TWO].connections, counts(scene)) == ([], {"mirrored_left_out": 2})
    answer(scene)
    assert client.received.endswith(b"hello")


def test_a_body_that_does_not_come_whole_is_not_copied(make_scene: MakeScene) -> None:
    scene = site(make_scene, Mirrored())
    client = scene.connect(POST % 10 + b"01234")
    client.reset()
    scene.run()
    scene.send(scene.connect(CHUNKED), b"x\r\n")
    assert (scene.backends[TWO].connections, counts(scene)) == ([], {"mirrored_left_out": 2})


# Bounds


def test_a_copy_holds_little_more_than_its_body_in_however_small_pieces() -> None:
    nothing: Any = None
    copy = MirroredRequest(
        nothing, nothing, nothing, None, method=b"POST", write_head=nothing, request_id=None
    )
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MAX_COPIED_BODY // 16):
            copy.feed(b"%016d" % number, whole=False)
            copy.feed(b"", whole=False)
        assert tracemalloc.get_traced_memory()[0] - before < 1.5 * MAX_COPIED_BODY
    finally:
        tracemalloc.stop()


def test_beyond_so_many_at_once_requests_are_not_copied(make_scene: MakeScene) -> None:
    scene = site(make_scene, Mirrored())
    for _ in range(MAX_COPIES + 2):
        scene.connect(GET)
    assert (len(scene.backends[TWO].connections), counts(scene)) == (MAX_COPIES, {"mirrored_left_out": 2})
    for connection in scene.backends[TWO].connections:
        scene.send(connection, HELLO)
    scene.connect(GET)
    assert counts(scene) == {"mirrored_left_out": 2, "answered": MAX_COPIES}


def test_of_a_response_in_many_small_chunks_no_more_is_read_than_one_turn_allows(
    make_scene: MakeScene,
) -> None:
    mirrored = Mirrored()
    scene = site(make_scene, mirrored)
    scene.connect(GET)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer(scene, TWO, head + b"1\r\nx\r\n" * 3 * MAX_CHUNKS + b"0\r\n\r\n")
    assert (mirrored.active, counts(scene)) == (0, {"answered": 1})
    assert scene.backends[TWO].connection.saw == "reset"


def test_a_response_that_does_not_come_is_given_up(make_scene: MakeScene) -> None:
    mirrored = Mirrored(response_timeout=5)
    scene = site(make_scene, mirrored)
    scene.connect(GET)
    answer(scene, TWO, HELLO[:-1])
    scene.advance(7)
    assert (mirrored.active, counts(scene)) == (0, {"response_timeout": 1})
    assert scene.backends[TWO].connection.saw == "reset"


def test_of_a_long_response_no_more_is_read_than_so_much(make_scene: MakeScene) -> None:
    mirrored = Mirrored()
    scene = site(make_scene, mirrored)
    scene.connect(GET)
    answer(scene, TWO, b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
    for _ in range(MAX_DISCARDED // 65536):
        assert mirrored.active == 1
        answer(scene, TWO, bytes(65536))
    assert (mirrored.active, counts(scene)) == (0, {"answered": 1})


@pytest.mark.parametrize(
    ("response", "reason", "reused"),
    [
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + HELLO, "answered", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "answered", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "answered", True),
        (HELLO.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), "answered", False),
        (HELLO + b"x", "answered", False),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "bad_response", False),
        (b"SSH-2.0-OpenSSH\r\n", "bad_response", False),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 65, "bad_response", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "bad_response", False),
    ],
)
def test_responses_are_read_as_far_as_their_end(
    make_scene: MakeScene, response: bytes, reason: str, reused: bool
) -> None:
    mirrored = Mirrored()
    scene = site(make_scene, mirrored)
    client = scene.connect(GET)
    answer(scene, TWO, response)
    answer(scene)
    assert (counts(scene), mirrored.active) == ({reason: 1}, 0)
    scene.send(client, GET)
    assert len(scene.backends[TWO].connections) == 2 - reused


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "backend_closed"),
        (HELLO[:-1], "backend_closed"),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", "answered"),
    ],
)
def test_a_backend_that_closes_has_answered_where_that_is_the_end(
    make_scene: MakeScene, response: bytes, reason: str
) -> None:
    scene = site(make_scene, Mirrored())
    scene.connect(GET)
    mirror = scene.backends[TWO].connection
    mirror.send(response)
    mirror.finish()
    scene.run()
    assert counts(scene) == {reason: 1}


def test_a_request_for_another_protocol_is_not_copied(make_scene: MakeScene) -> None:
    scene = site(make_scene, Mirrored())
    scene.connect(GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
    scene.connect(GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"))
    (mirror,) = scene.backends[TWO].connections
    assert b"pgrade" not in mirror.received


def test_a_copy_for_a_pool_that_gets_no_more_of_them_keeps_no_connection(make_scene: MakeScene) -> None:
    mirrored = Mirrored()
    scene = site(make_scene, mirrored)
    scene.connect(GET)
    frontend = scene.frontend
    routes = Routes([], Route(pool=frontend.context.routes.routes[0].pool))
    frontend.serve_by(frontend.prepare_http(frontend.context, frontend.context.http, routes))
    answer(scene, TWO)
    assert (mirrored.active, counts(scene)) == (0, {"answered": 1})
    assert scene.backends[TWO].connection.saw == "fin"
    assert mirrored.pool not in frontend.context.idle


def test_the_end_of_the_frontend_is_that_of_its_copies(make_scene: MakeScene) -> None:
    mirrored = Mirrored()
    scene = site(make_scene, mirrored)
    client = scene.connect(GET)
    scene.frontend.doStart()  # type: ignore[no-untyped-call]  # Twisted's
    scene.frontend.doStop()  # type: ignore[no-untyped-call]  # Twisted's
    answer(scene)
    client.finish()
    scene.run()
    assert (mirrored.active, counts(scene)) == (0, {"shutdown": 1})


# Whatever happens

REQUESTS = [GET, POST % 3 + b"abc", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", GET.replace(b"GET", b"HEAD")]
DEEDS = [b"", HELLO, HELLO[:20], HELLO + HELLO, b"\0\1", b"HTTP/1.1 500 Oops\r\n\r\n", "reset", "finish"]

Step = tuple[bytes, Any, bool]
"""A request; what its copy meets, bytes or an end; and whether that comes before the response."""


def play(kind: type[HttpScene], steps: list[Step], behaviour: str | None) -> bytes:
    """Give what a client gets.

    :param behaviour: of the backend of the other pool; None where nothing is copied.
    """
    route = {} if behaviour else {"mirror": None}
    with http_scenes(kind) as make:
        scene = make(
            {ONE: "accepts", TWO: behaviour or "accepts"}, routes=Mirrored(route=route), has_default=False
        )
        client = scene.connect()
        for request, deed, is_early in steps:
            scene.send(client, request)
            response = HELLO[:-5] if request.startswith(b"HEAD") else HELLO
            if is_early:
                do(scene, deed)
            answer(scene, ONE, response)
            if not is_early:
                do(scene, deed)
        received: bytes = client.received
    return received


def do(scene: HttpScene, deed: Any) -> None:
    """Have the backend of the other pool do something on its last connection, if it has one that is open."""
    for connection in scene.backends[TWO].connections[-1:]:
        if connection.finished or connection.on_connection_error or connection.saw != "open":
            return
        if isinstance(deed, bytes):
            connection.send(deed)
        else:
            getattr(connection, deed)()
        scene.run()


@pytest.mark.parametrize("kind", HTTP_SCENES)
@given(
    steps=st.lists(st.tuples(st.sampled_from(REQUESTS), st.sampled_from(DEEDS), st.booleans()), max_size=6),
    behaviour=st.sampled_from(["accepts", "refuses", "hangs", "resets_at_once"]),
)
def test_clients_get_the_same_whatever_becomes_of_copies(
    kind: type[HttpScene], steps: list[Step], behaviour: str
) -> None:
    assert play(kind, steps, behaviour) == play(kind, steps, None)
