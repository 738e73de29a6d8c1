"""Time limits on heads, bodies, responses and on connections without requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.http_scene import GET, HELLO, ONE, HttpScene, only_for
from tcpbalance.http.routes import Route
from tcpbalance.pool.backend import Backend

MakeScene = Callable[..., HttpScene]

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"


def lasts(scene: HttpScene, shortest: float, longest: float) -> bool:
    """Let time pass; tell whether the one request has ended no earlier and no later."""
    scene.advance(shortest)
    early = len(scene.records)
    scene.advance(longest - shortest)
    return early == 0 and len(scene.records) == 1


def test_a_client_without_a_request_is_closed_in_order(make_scene: MakeScene) -> None:
    scene = make_scene(http={"keepalive_timeout": 20.0})
    client = scene.connect()
    assert lasts(scene, 19.5, 23.0)
    assert (client.saw, scene.records[0].reason.word, scene.requests) == ("fin", "keepalive_timeout", [])


def test_a_client_between_two_requests_is_closed_in_order(make_scene: MakeScene) -> None:
    scene = make_scene(http={"keepalive_timeout": 20.0})
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.advance(19.5)
    assert client.saw == "open"
    scene.advance(3.5)
    assert (client.saw, len(scene.records)) == ("fin", 1)
    assert scene.frontend.stats.snapshot()["ended.keepalive_timeout"] == 1


def test_each_request_begins_the_time_anew(make_scene: MakeScene) -> None:
    scene = make_scene(http={"keepalive_timeout": 20.0})
    client = scene.connect()
    for _ in range(4):
        scene.advance(15.0)
        scene.send(client, GET)
        scene.send(scene.connections[-1], HELLO)
    assert client.saw == "open"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_head_that_does_not_come_whole_is_408(make_scene: MakeScene, is_first: bool) -> None:
    scene = make_scene(http={"head_timeout": 10.0})
    client = scene.connect(b"" if is_first else GET)
    if not is_first:
        scene.send(scene.connection, HELLO)
        scene.records.clear()
        scene.frontend.stats.__init__()  # type: ignore[misc]
    for byte in GET[:8]:
        scene.send(client, bytes((byte,)))
        scene.advance(1.0)
    assert scene.records == []
    scene.advance(4.0)
    assert client.received.rpartition(b"HTTP/1.1 ")[2].startswith(b"408 ")
    assert scene.request.reason.word == "head_timeout"
    assert (scene.request.client_bytes, client.saw) == (8, "fin")
    scene.clients.clear()
    client.reset()
    scene.run()
    scene.records.clear()
    scene.frontend.stats.__init__()  # type: ignore[misc]


def test_a_pause_in_a_body_is_408(make_scene: MakeScene) -> None:
    scene = make_scene(http={"body_timeout": 20.0})
    client = scene.connect(POST)
    scene.advance(15.0)
    scene.send(client, b"a" * 10_000)
    assert lasts(scene, 19.0, 25.0)
    assert client.received.startswith(b"HTTP/1.1 408 ")
    assert (scene.connection.saw, client.saw, scene.ends) == ("reset", "fin", ["body_timeout 408"])


def test_a_body_may_not_come_too_slowly(make_scene: MakeScene) -> None:
    scene = make_scene(http={"body_min_rate": 256})
    client = scene.connect(POST)
    for _ in range(40):
        scene.send(client, b"a" * 100)
        scene.advance(1.0)
    assert client.received.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_comes_fast_enough_goes_on(make_scene: MakeScene) -> None:
    scene = make_scene(http={"body_min_rate": 256})
    client = scene.connect(POST)
    for _ in range(120):
        scene.send(client, b"a" * 300)
        scene.advance(1.0)
    assert (client.saw, scene.records) == ("open", [])


def test_a_client_is_not_blamed_for_a_backend_that_reads_slowly(make_scene: MakeScene) -> None:
    scene = make_scene(
        network={"send_buffer": 4_000, "receive_buffer": 4_000}, pool_http={"response_timeout": 300.0}
    )
    client = scene.connect(POST)
    scene.connection.stop_reading()
    scene.send(client, b"a" * 100_000)
    for _ in range(60):
        scene.connection.read(1000)
        scene.run()
        scene.advance(2.0)
    assert (client.saw, scene.records) == ("open", [])
    scene.connection.start_reading()
    scene.run()
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["answered 200"]


def test_a_silent_backend_is_504(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"response_timeout": 20.0})
    client = scene.connect(GET)
    assert lasts(scene, 19.5, 23.0)
    assert client.received.startswith(b"HTTP/1.1 504 ")
    assert (scene.connection.saw, client.saw, scene.ends) == ("reset", "open", ["response_timeout 504"])


def test_a_route_may_have_a_time_limit_of_its_own_for_responses(make_scene: MakeScene) -> None:
    scene = make_scene(
        pool_http={"response_timeout": 20.0},
        routes=lambda pool: [
            (only_for(paths=("/soon",)), Route(name="soon", pool=pool, response_timeout=5.0)),
            (only_for(paths=("/late",)), Route(name="late", pool=pool, response_timeout=60.0)),
        ],
    )
    for path in (b"/soon", b"/late", b"/"):
        scene.connect(GET.replace(b"GET /", b"GET " + path))
    scene.advance(4.5)
    assert scene.ends == []
    for passed, route in ((3.5, "soon"), (15.0, None), (40.0, "late")):
        scene.advance(passed)
        assert (scene.ends[-1], scene.requests[-1].route) == ("response_timeout 504", route)
    assert len(scene.ends) == 3


def test_a_backend_that_drips_its_head_is_504(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"response_timeout": 20.0})
    scene.connect(GET)
    for byte in HELLO[:25]:
        scene.connection.send(bytes((byte,)))
        scene.advance(1.0)
        if scene.records:
            break
    assert scene.ends == ["response_timeout 504"]


def test_a_pause_in_a_response_cuts_it(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"stall_timeout": 20.0})
    client = scene.connect(GET)
    scene.send(scene.connection, LONG)
    assert lasts(scene, 19.5, 25.0)
    assert (client.saw, scene.connection.saw, scene.ends) == ("reset", "reset", ["stall_timeout 200"])


EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\n\n\r\n"
)


@pytest.mark.parametrize("begin", [LONG, EVENTS], ids=["download", "event stream"])
@pytest.mark.parametrize(("path", "longest"), [(b"/soon", 5.0), (b"/late", 90.0)])
def test_a_route_may_have_a_time_limit_of_its_own_for_pauses_in_responses(
    make_scene: MakeScene, path: bytes, longest: float, begin: bytes
) -> None:
    scene = make_scene(
        pool_http={"stall_timeout": 20.0},
        timeouts={"idle_timeout": 30.0},
        routes=lambda pool: [
            (only_for(paths=("/soon",)), Route(pool=pool, stall_timeout=5.0)),
            (only_for(paths=("/late",)), Route(pool=pool, stall_timeout=90.0)),
        ],
    )
    client = scene.connect(GET.replace(b"GET /", b"GET " + path))
    scene.send(scene.connection, begin)
    assert lasts(scene, longest - 0.5, longest + 5.0)
    assert (client.saw, scene.ends) == ("reset", ["stall_timeout 200"])


def test_without_that_an_event_stream_may_be_silent_for_the_idle_timeout(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"stall_timeout": 20.0}, timeouts={"idle_timeout": 30.0})
    scene.connect(GET)
    scene.send(scene.connection, EVENTS)
    assert lasts(scene, 29.5, 35.0)


@pytest.mark.parametrize(("path", "longest"), [(b"/soon", 5.0), (b"/late", 60.0)])
def test_a_route_may_have_a_time_limit_of_its_own_for_pauses_in_bodies(
    make_scene: MakeScene, path: bytes, longest: float
) -> None:
    scene = make_scene(
        http={"body_timeout": 20.0, "body_min_rate": 0},
        routes=lambda pool: [
            (only_for(paths=("/soon",)), Route(pool=pool, body_timeout=5.0)),
            (only_for(paths=("/late",)), Route(pool=pool, body_timeout=60.0)),
        ],
    )
    client = scene.connect(POST.replace(b"POST /", b"POST " + path))
    scene.advance(longest - 1.0)
    scene.send(client, b"a" * 10_000)
    assert lasts(scene, longest - 1.0, longest + 5.0)
    assert scene.ends == ["body_timeout 408"]


@pytest.mark.parametrize(("path", "ends"), [(b"/meter", []), (b"/fast", ["body_timeout 408"]), (b"/", [])])
def test_a_route_may_have_a_rate_of_its_own_for_bodies(
    make_scene: MakeScene, path: bytes, ends: list[str]
) -> None:
    scene = make_scene(
        http={"body_min_rate": 256},
        routes=lambda pool: [
            (only_for(paths=("/meter",)), Route(pool=pool, body_min_rate=1)),
            (only_for(paths=("/fast",)), Route(pool=pool, body_min_rate=1000)),
        ],
    )
    each = 10 if path == b"/meter" else 300
    client = scene.connect(POST.replace(b"POST /", b"POST " + path))
    for _ in range(70):
        scene.send(client, b"a" * each)
        scene.advance(1.0)
    assert scene.ends == ends


def test_a_client_that_does_not_read_is_cut(make_scene: MakeScene) -> None:
    scene = make_scene(
        network={"send_buffer": 4_000, "receive_buffer": 4_000},
        http={"send_timeout": 50.0, "send_min_rate": 20},
        pool_http={"stall_timeout": 20.0},
    )
    client = scene.connect(GET)
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1_000_000)
    scene.advance(45.0)
    assert scene.records == []
    for _ in range(20):
        client.read(1000)
        scene.run()
        scene.advance(20.0)
    assert scene.records == []
    scene.advance(105.0)
    assert (client.saw, scene.ends) == ("reset", ["send_timeout 200"])


@pytest.mark.parametrize("size", [30_000, 3_000_000])
def test_a_client_that_reads_a_byte_now_and_then_is_cut(make_scene: MakeScene, size: int) -> None:
    scene = make_scene(network={"send_buffer": 8_000, "receive_buffer": 8_000}, http={"send_timeout": 20.0})
    client = scene.connect(GET)
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)
    for _ in range(30):
        client.read(100)
        scene.run()
        scene.advance(5.0)
    assert client.saw == "reset"


def test_the_reason_is_that_it_takes_too_little(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 8_000, "receive_buffer": 8_000}, http={"send_timeout": 20.0})
    client = scene.connect(GET)
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 3_000_000)
    took = 0
    while not scene.records and took < 100:
        took += 1
        client.read(100)
        scene.run()
        scene.advance(5.0)
    # Two looks; and the 60 seconds of the keys that say when a look is at the latest.
    assert took <= 15
    assert scene.ends == ["send_timeout 200"]


@pytest.mark.parametrize("size", [30_000, 600_000])
def test_a_client_that_reads_slowly_gets_all(make_scene: MakeScene, size: int) -> None:
    scene = make_scene(
        network={"send_buffer": 8_000, "receive_buffer": 8_000},
        http={"send_timeout": 20.0},
        timeouts={"half_close_timeout": 20.0},
    )
    client = scene.connect(GET)
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)
    for _ in range(size // 3_000 + 2):
        client.read(3_000)
        scene.run()
        scene.advance(9.0)
    assert (len(client.received.partition(b"\r\n\r\n")[2]), scene.ends) == (size, ["answered 200"])


@pytest.mark.parametrize("size", [100_000, 10_000_000])
def test_a_client_that_stops_reading_is_cut_by_a_short_time_limit(make_scene: MakeScene, size: int) -> None:
    scene = make_scene(network={"send_buffer": 4_000, "receive_buffer": 4_000}, http={"send_timeout": 3.0})
    client = scene.connect(GET)
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)
    assert lasts(scene, 2.5, 12.0)
    scene.advance(10.0)
    assert (client.saw, scene.ends) == ("reset", ["send_timeout 200"])


def test_a_client_that_pauses_once_the_backend_reads_again_is_late(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 4_000, "receive_buffer": 4_000}, http={"body_timeout": 3.0})
    client = scene.connect(POST)
    scene.connection.stop_reading()
    scene.send(client, b"a" * 90_000)
    scene.advance(20.0)
    scene.connection.start_reading()
    scene.run()
    assert lasts(scene, 2.5, 10.0)
    assert (client.saw, scene.ends) == ("fin", ["body_timeout 408"])


def test_no_backend_accepts_in_time(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "hangs"}, connect_timeout=30.0, dial_timeout=30.0, retries=0)
    client = scene.connect(GET)
    scene.advance(40.0)
    assert client.received.startswith(b"HTTP/1.1 50")
    assert (client.saw, scene.active) == ("open", [0])


def test_a_request_waits_in_the_queue_for_its_time(make_scene: MakeScene) -> None:
    scene = make_scene(members=[Backend(ONE, max_connections=1)], queue=5, queue_timeout=20.0)
    scene.connect(GET)
    waiting = scene.connect(GET)
    scene.advance(25.0)
    assert waiting.received.startswith(b"HTTP/1.1 503 ")
    assert (waiting.saw, scene.ends) == ("open", ["queue_timeout 503"])


def test_a_request_that_waits_in_the_queue_gets_the_connection(make_scene: MakeScene) -> None:
    scene = make_scene(members=[Backend(ONE, max_connections=1)], queue=5)
    first, second = scene.connect(GET), scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.send(scene.connection, HELLO)
    assert first.received.endswith(b"hello")
    assert second.received.endswith(b"hello")
    assert [record.reused for record in scene.requests] == [False, True]


def test_a_full_queue_is_503(make_scene: MakeScene) -> None:
    scene = make_scene(members=[Backend(ONE, max_connections=1)], queue=1)
    scene.connect(GET)
    scene.connect(GET)
    late = scene.connect(GET)
    assert late.received.startswith(b"HTTP/1.1 503 ")


def test_an_old_connection_is_closed_with_its_next_answer(make_scene: MakeScene) -> None:
    scene = make_scene(timeouts={"max_connection_age": 30.0}, http={"keepalive_timeout": 1000.0})
    client, idle = scene.connect(GET), scene.connect()
    scene.advance(40.0)
    assert (client.saw, idle.saw) == ("open", "fin")
    scene.send(scene.connection, HELLO)
    assert b"Connection: close\r\n" in client.received
    assert client.saw == "fin"
