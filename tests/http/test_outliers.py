"""Backends are ejected for the statuses of their responses, and never for answers of the balancer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene, only_for
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.http.routes import Route
from tcpbalance.pool.pool import Pool

MakeScene = Callable[..., HttpScene]

WANTED = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
CHANGED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def response(status: int) -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status


def ejecting(make_scene: MakeScene, **outlier: Any) -> HttpScene:
    return make_scene((ONE, TWO), outlier=OutlierConfig(**{"consecutive_failures": 3, **outlier}))


def answer_all(scene: HttpScene, client: Any, responses: list[bytes]) -> None:
    """Have both backends answer a client's requests in the same way, so many of each."""
    for data in responses:
        for _ in range(2):
            before = [len(connection.received) for connection in scene.connections]
            scene.send(client, GET)
            (asked,) = [
                connection
                for connection, size in zip(scene.connections, [*before, 0, 0], strict=False)
                if len(connection.received) > size
            ]
            scene.send(asked, data)


def states(scene: HttpScene) -> list[str]:
    return [backend.state for backend in scene.pool.backends]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_row_of_responses_that_count_ejects(make_scene: MakeScene, status: int) -> None:
    scene = ejecting(make_scene)
    with capturedLogs() as logged:
        answer_all(scene, scene.connect(), [response(status)] * 3)
    # One stays: it is the last that can serve.
    assert sorted(states(scene)) == ["ejected", "up"]
    (line,) = [formatEvent(event) for event in logged if "ejected" in str(event.get("log_format"))]
    assert line is not None
    assert line.endswith(f"consecutive failures, the last: status {status}")


@pytest.mark.parametrize("status", [200, 404, 429, 500, 501, 505])
def test_no_other_response_does(make_scene: MakeScene, status: int) -> None:
    scene = ejecting(make_scene)
    answer_all(scene, scene.connect(), [response(status)] * 4)
    assert states(scene) == ["up", "up"]


def test_which_count_is_the_operators_choice(make_scene: MakeScene) -> None:
    scene = ejecting(make_scene, statuses="500,507")
    answer_all(scene, scene.connect(), [response(503)] * 4)
    assert states(scene) == ["up", "up"]
    answer_all(scene, scene.connect(), [response(500), response(507), response(500)])
    assert sorted(states(scene)) == ["ejected", "up"]


def test_another_response_ends_the_row(make_scene: MakeScene) -> None:
    scene = ejecting(make_scene)
    bad, good = response(503), response(200)
    answer_all(scene, scene.connect(), [bad, bad, good, bad, bad, good])
    assert states(scene) == ["up", "up"]


def test_the_first_byte_alone_does_not(make_scene: MakeScene) -> None:
    scene = make_scene(outlier=OutlierConfig(consecutive_failures=3))
    client = scene.connect()
    for _ in range(2):
        scene.send(client, GET)
        scene.send(scene.connections[-1], response(503))
    (backend,) = scene.pool.backends
    scene.send(client, GET)
    scene.send(scene.connections[-1], b"HTTP/1.1 1")
    assert backend.host_stats.failures == 2
    scene.send(scene.connections[-1], b"03 Early Hints\r\n\r\nHTTP/1.1 ")
    assert backend.host_stats.failures == 2
    scene.send(scene.connections[-1], HELLO.removeprefix(b"HTTP/1.1 "))
    assert backend.host_stats.failures == 0


def test_connections_and_responses_that_fail_make_one_row(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "accepts"}, outlier=OutlierConfig(consecutive_failures=9), retries=0)
    client = scene.connect()
    scene.send(client, GET)
    scene.send(scene.connections[-1], response(502))
    scene.pool.send_proxy_protocol = "v1"  # Each request has a connection of its own from here on.
    scene.backends[ONE].behaviour = "refuses"
    scene.send(client, GET)
    assert scene.ends == ["answered 502", "connect_failed 502"]
    assert scene.pool.backends[0].host_stats.failures == 2


def test_answers_of_the_balancer_are_no_failures_of_a_backend(make_scene: MakeScene) -> None:
    outlier = OutlierConfig(consecutive_failures=2)
    scene = make_scene(outlier=outlier, pool_http={"response_timeout": 1.0, "retry_on": []})
    for data in (b"nonsense\r\n\r\n", None):
        client = scene.connect(GET)
        if data is None:
            scene.advance(2.0)
        else:
            scene.send(scene.connections[-1], data)
        client.reset()
    scene.pool.mark_down(scene.pool.backends[0], "down")
    scene.connect(GET)
    assert scene.ends == ["bad_response 502", "response_timeout 504", "no_backend 503"]
    assert scene.pool.backends[0].host_stats.failures == 0


def test_an_upgrade_ends_the_row(make_scene: MakeScene) -> None:
    def upgrades(pool: Pool) -> list[Any]:
        return [(only_for(), Route(pool=pool, upgrade=frozenset(["websocket"])))]

    scene = make_scene(outlier=OutlierConfig(consecutive_failures=2), routes=upgrades)
    client = scene.connect(GET)
    scene.send(scene.connection, response(503))
    scene.send(client, WANTED)
    scene.send(scene.connection, CHANGED)
    assert scene.pool.backends[0].host_stats.failures == 0


def test_the_connections_of_one_that_is_ejected_serve_no_more(make_scene: MakeScene) -> None:
    scene = ejecting(make_scene, consecutive_failures=1)
    client = scene.connect(GET)
    scene.send(scene.connections[0], response(503))
    assert (states(scene), scene.connections[0].saw) == (["ejected", "up"], "fin")
    scene.send(client, GET)
    assert scene.connections[1].received.startswith(b"GET / ")
