"""Attempts that go on when all backends have been tried, and what bounds them."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from twisted.logger import capturedLogs

from support.scene import ONE, RETRY_ON_RESET, THREE, TWO
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.bare_session import BareSession
from tcpbalance.proxy.session import Session


def test_all_are_tried_again_after_a_pause(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "refuses"}, retries=3)
    client = scene.connect(early=b"question")
    scene.run()
    assert [backend.dials for backend in scene.backends.values()] == [1, 1]
    assert client.saw == "open"
    scene.backends[TWO].behaviour = "accepts"
    scene.advance(3)
    assert scene.backends[TWO].connection.received == b"question"
    assert scene.active == [0, 1]


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_there_are_so_many_attempts_and_no_more(make_scene: Any, retries: int) -> None:
    scene = make_scene({ONE: "refuses"}, retries=retries)
    client = scene.connect()
    scene.advance(30)
    assert (scene.backends[ONE].dials, client.saw) == (retries + 1, "fin")
    assert (scene.ended, scene.record.attempts, scene.record.cause) == (
        "connect_failed",
        retries + 1,
        "refused",
    )


def test_nobody_pauses_for_backends_that_are_down(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, retries=5)
    client = scene.connect()
    scene.run()
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    scene.backends[ONE].behaviour = "refuses"
    scene.run()
    assert (client.saw, scene.ended, scene.record.attempts) == ("fin", "connect_failed", 1)


def test_who_leaves_during_the_pause_is_dialled_for_no_more(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses"}, retries=5)
    client = scene.connect()
    scene.run()
    client.reset()
    scene.run()
    assert (scene.ended, scene.backends[ONE].dials) == ("client_reset", 1)
    scene.advance(30)
    assert scene.pool.retry_budget.taken == 0
    assert scene.backends[ONE].dials == 1


def test_retries_never_double_the_load_of_an_outage(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "refuses"}, retries=5)
    clients = []
    for _ in range(20):
        clients += [scene.connect() for _ in range(20)]
        scene.run()
        assert scene.pool.retry_budget.taken <= 4  # a fifth of those that dial at once, or 3
        scene.advance(0.5)
    in_time = sum(backend.dials for backend in scene.backends.values())
    scene.advance(60)
    assert all(client.saw == "fin" for client in clients)
    assert in_time < 1.5 * len(clients)
    given_up = {record.cause for record in scene.records if record.attempts <= 5}
    assert given_up == {"refused, and too many retries are under way"}
    assert scene.pool.retry_budget.taken == 0


def test_those_who_fail_together_are_served_one_after_the_other(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "accepts"})
    clients = [scene.connect(early=b"x") for _ in range(20)]
    scene.advance(3)
    assert all(client.saw == "open" for client in clients)
    assert len(scene.backends[TWO].connections) == 20


def test_the_budget_grows_with_the_connections(make_scene: Any) -> None:
    scene = make_scene([ONE])
    for _ in range(30):
        scene.connect()
    scene.run()
    scene.backends[ONE].behaviour = "refuses"
    for _ in range(20):
        scene.connect()
    scene.run()
    assert scene.pool.retry_budget.taken >= 6


def test_a_connection_that_stands_is_no_retry_any_more(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "accepts"})
    client = scene.connect(early=b"x")
    scene.run()
    assert client.saw == "open"
    assert scene.pool.retry_budget.taken == 0


# What a session tells outlier detection


def ejecting(make_scene: Any, backends: Any, **settings: Any) -> Any:
    return make_scene(backends, outlier=OutlierConfig(consecutive_failures=2), **settings)


@pytest.mark.parametrize("failure", ["refuses", "hangs", "resets_at_once"])
def test_one_that_fails_is_out_of_rotation(make_scene: Any, failure: str) -> None:
    scene = ejecting(make_scene, {ONE: failure, TWO: "accepts", THREE: "accepts"}, **RETRY_ON_RESET)
    clients = []
    for _ in range(9):
        clients.append(scene.connect(early=b"question"))
        scene.advance(4)
    assert all(client.saw == "open" for client in clients)
    assert scene.pool.backends[0].state == "ejected"
    assert scene.backends[ONE].dials == 2


def test_one_that_resets_before_its_first_byte_is_out_of_rotation_without_retries_too(
    make_scene: Any,
) -> None:
    scene = ejecting(make_scene, {ONE: "resets_at_once", TWO: "accepts"})
    saw = []
    for _ in range(6):
        client = scene.connect(early=b"question")
        scene.run()
        saw.append(client.saw)
    assert scene.pool.backends[0].state == "ejected"
    assert (scene.backends[ONE].dials, saw.count("reset")) == (2, 2)


def test_one_that_answers_is_no_outlier(make_scene: Any) -> None:
    scene = ejecting(make_scene, [ONE, TWO])
    for address in (ONE, TWO, ONE, TWO):
        client = scene.connect(early=b"question")
        scene.run()
        connection = scene.backends[address].connections[-1]
        connection.send(b"a")
        scene.run()
        connection.reset()
        scene.run()
        assert client.saw == "reset"
    assert [backend.state for backend in scene.pool.backends] == ["up", "up"]


def test_one_that_resets_long_uploads_before_its_first_byte_is_one(make_scene: Any) -> None:
    """Nobody else can be tried with what was not kept, and yet it counts."""
    scene = ejecting(make_scene, [ONE, TWO], retries=0)
    for _ in range(4):
        client = scene.connect()
        scene.run()
        client.send(bytes(1_000_000))
        scene.run()
        reached = [c for c in scene.backends[ONE].connections if c.saw == "open"]
        for connection in reached:
            connection.reset()
        scene.run()
    assert [backend.state for backend in scene.pool.backends] == ["ejected", "up"]


def test_answers_that_pass_the_session_by_count_too(make_scene: Any) -> None:
    scene = ejecting(make_scene, [ONE, TWO])
    first = scene.pool.backends[0]
    assert scene.pool.ejections is not None
    scene.pool.ejections.failed(first, "refused")
    client = scene.connect()
    scene.run()
    for _ in range(3):
        client.send(bytes(100_000))
        scene.run()
    connection = scene.backends[ONE].connection
    connection.send(b"done")
    connection.finish()
    client.finish()
    scene.run()
    assert client.received == b"done"
    scene.pool.ejections.failed(first, "refused")
    assert first.state == "up"


def test_our_own_shortage_is_no_fault_of_the_backend(make_scene: Any) -> None:
    scene = ejecting(make_scene, {ONE: "lacks_buffers", TWO: "lacks_buffers"})
    for _ in range(4):
        scene.connect()
        scene.advance(3)
    assert [backend.state for backend in scene.pool.backends] == ["up", "up"]
    assert [backend.cooldown_until for backend in scene.pool.backends] == [0, 0]
    assert {record.reason.word for record in scene.records} == {"local_failure"}


def test_an_exception_in_a_later_attempt_ends_the_session_and_blames_nobody(carrier: Any) -> None:
    scene = carrier({ONE: "refuses", TWO: "accepts"})
    connect = scene.network.connector.connect

    def raises_for_the_second(address: Any, *rest: Any) -> Any:
        return connect(address, *rest) if str(address) == ONE else 1 / 0

    scene.network.connector.connect = raises_for_the_second
    with capturedLogs() as events:
        client = scene.connect(early=b"question")
        scene.run()
    assert (client.saw, scene.ended, scene.active) == ("reset", "internal_error", [0, 0])
    assert scene.record.failures == ((ONE, "refused"), (TWO, "internal error"))
    assert scene.pool.backends[1].cooldown_until == 0
    assert [event["log_failure"].type for event in events if "log_failure" in event] == [ZeroDivisionError]


def test_nobody_waits_for_the_budget_where_nobody_is_left(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, retries=5)
    for _ in range(3):
        assert scene.pool.retry_budget.take()
    client = scene.connect()
    scene.run()
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    scene.backends[ONE].behaviour = "refuses"
    scene.run()
    assert client.saw == "fin"


def test_without_a_queue_one_that_failed_is_tried_again_while_the_others_are_full(make_scene: Any) -> None:
    members = [Backend(ONE, max_connections=1), Backend(TWO)]
    scene = make_scene({ONE: "accepts", TWO: "refuses"}, members=members)
    scene.connect()
    client = scene.connect(early=b"question")
    scene.run()
    assert client.saw == "open"
    scene.backends[TWO].behaviour = "accepts"
    scene.advance(1)
    assert scene.backends[TWO].connection.received == b"question"


def test_an_exception_of_ours_at_the_first_byte_blames_nobody(carrier: Any) -> None:
    scene = carrier([ONE], outlier=OutlierConfig(consecutive_failures=1))
    client = scene.connect(early=b"question")
    scene.run()
    flaw: Any = {"side_effect": ZeroDivisionError}
    bare = patch.object(BareSession, "_read_backend", **flaw)
    with capturedLogs(), patch.object(Session, "backend_sent", **flaw), bare:
        scene.backends[ONE].connection.send(b"answer")
        scene.run()
    assert (client.saw, scene.ended) == ("reset", "internal_error")
    assert scene.pool.backends[0].state == "up"
    assert scene.record.failures == ()
