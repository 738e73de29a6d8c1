"""Clients that wait until a backend has room for them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import capturedLogs

from support.pools import described
from support.scene import ONE, TWO
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.proxy.reasons import EndReason


def one_at_a_time(make_scene: Any, *addresses: str, **settings: Any) -> Any:
    """Backends that may have one connection each."""
    return make_scene(
        list(addresses),
        members=[Backend(address, max_connections=1) for address in addresses],
        **{"queue": 3, "queue_timeout": 10.0, **settings},
    )


def of(host: int, port: int = 4000) -> IPv4Address:
    return IPv4Address("TCP", f"198.51.100.{host}", port)


def answers(scene: Any, address: str = ONE) -> None:
    """Let the last connection of a backend give its answer, and both sides finish."""
    connection = scene.backends[address].connections[-1]
    connection.send(b"answer")
    connection.finish()
    scene.run()


def finish(scene: Any, client: Any) -> None:
    client.finish()
    scene.run()


def test_a_client_waits_until_there_is_room(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect(early=b"first")
    second = scene.connect(early=b"second")
    scene.run()
    assert (second.saw, scene.backends[ONE].dials, len(scene.pool.queue)) == ("open", 1, 1)
    second.send(b" question")
    scene.advance(5)
    answers(scene)
    finish(scene, first)
    assert scene.backends[ONE].connections[-1].received == b"second question"
    answers(scene)
    finish(scene, second)
    assert second.received == b"answer"
    assert [record.reason.word for record in scene.records] == ["backend_closed"] * 2
    assert 5 <= scene.records[-1].wait <= 6
    assert scene.active == [0]


def test_the_time_to_wait_is_bounded(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    scene.connect()
    waiting = scene.connect(early=b"question")
    scene.advance(9.5)
    assert waiting.saw == "open"
    scene.advance(3)
    assert waiting.saw in {"fin", "reset"}
    record = scene.record
    assert (record.reason.word, record.reason.closer, record.attempts) == ("queue_timeout", "balancer", 0)
    assert (len(scene.pool.queue), scene.active) == (0, [1])


def test_the_number_of_those_who_wait_is_bounded(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    clients = [scene.connect() for _ in range(5)]
    scene.run()
    assert [client.saw for client in clients] == ["open"] * 4 + ["fin"]
    assert scene.ended == "queue_full"


def test_without_a_queue_nobody_waits(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, queue=0)
    scene.connect()
    client = scene.connect()
    scene.run()
    assert (client.saw, scene.ended) == ("fin", "no_backend")


def test_clients_take_turns(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, queue=10)
    held = scene.connect(address=of(1))
    scene.run()
    for name in (b"a1", b"a2", b"a3"):
        scene.connect(address=of(1), early=name)
    scene.connect(address=of(2), early=b"b1")
    scene.run()
    held.reset()
    served = []
    for _ in range(4):
        scene.run()
        connection = scene.backends[ONE].connections[-1]
        served.append(connection.received)
        connection.send(b"answer")
        connection.reset()
    assert served == [b"a1", b"b1", b"a2", b"a3"]


def test_who_fills_the_queue_gives_way_to_others(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    greedy = [scene.connect(address=of(1)) for _ in range(4)]
    modest = scene.connect(address=of(2))
    scene.run()
    assert [client.saw for client in greedy] == ["open"] * 3 + ["fin"]
    assert (modest.saw, scene.ended, len(scene.pool.queue)) == ("open", "queue_full", 3)


@pytest.mark.parametrize("how", ["reset", "finish"])
def test_who_leaves_is_not_served(make_scene: Any, how: str) -> None:
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect()
    leaver = scene.connect()
    last = scene.connect(early=b"last")
    scene.run()
    getattr(leaver, how)()
    scene.run()
    assert len(scene.pool.queue) == 1
    assert scene.ended == ("client_reset" if how == "reset" else "client_closed")
    first.reset()
    scene.run()
    assert (scene.backends[ONE].connections[-1].received, last.saw) == (b"last", "open")
    assert scene.backends[ONE].dials == 2


def test_who_has_asked_and_finished_is_still_served(make_scene: Any) -> None:
    """Its question is complete, and it may well read the answer."""
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect()
    scene.run()
    client = scene.connect(early=b"question")
    client.finish()
    scene.run()
    first.reset()
    scene.run()
    connection = scene.backends[ONE].connections[-1]
    assert (connection.received, connection.saw) == (b"question", "fin")
    answers(scene)
    assert client.received == b"answer"


def test_a_backend_that_comes_up_serves_the_queue(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, TWO)
    scene.pool.mark_down(scene.pool.backends[1], "refused")
    scene.connect()
    waiting = scene.connect(early=b"question")
    scene.run()
    scene.pool.mark_up(scene.pool.backends[1])
    scene.run()
    assert (scene.backends[TWO].connections[-1].received, waiting.saw) == (b"question", "open")


def test_nobody_waits_where_nobody_is_available(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    client = scene.connect()
    scene.run()
    assert (client.saw, scene.ended) == ("fin", "no_backend")


def at_home(make_scene: Any) -> tuple[Any, Any]:
    """A client that is at home at the first backend, waits for it while both are full, and those at both."""
    scene = one_at_a_time(make_scene, ONE, TWO, affinity=AffinityConfig(ttl=600))
    held = [scene.connect(address=of(1)), scene.connect(address=of(2))]
    scene.run()
    scene.connect(address=of(1), early=b"mine")
    scene.run()
    assert len(scene.pool.queue) == 1
    return scene, held


def test_affinity_is_honoured(make_scene: Any) -> None:
    scene, (first, second) = at_home(make_scene)
    second.reset()
    scene.run()
    assert (scene.backends[TWO].dials, len(scene.pool.queue)) == (1, 1)
    first.reset()
    scene.run()
    assert scene.backends[ONE].connections[-1].received == b"mine"


def test_unless_its_backend_has_gone_down(make_scene: Any) -> None:
    scene, (_, second) = at_home(make_scene)
    second.reset()
    scene.run()
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    scene.run()
    assert scene.backends[TWO].connections[-1].received == b"mine"


def test_at_the_end_of_its_time_it_goes_elsewhere_where_there_is_room(make_scene: Any) -> None:
    scene, (_, second) = at_home(make_scene)
    second.reset()
    scene.advance(12)
    assert scene.backends[TWO].connections[-1].received == b"mine"
    assert scene.active == [1, 1]


def test_the_shutdown_ends_those_who_wait(make_scene: Any) -> None:
    """They first: nobody is given the place of another that is ended."""
    scene = one_at_a_time(make_scene, ONE)
    clients = [scene.connect() for _ in range(4)]
    scene.run()
    scene.frontend.registry.end_sessions(EndReason.SHUTDOWN)
    scene.run()
    assert [client.saw for client in clients] == ["reset"] * 4
    assert (len(scene.pool.queue), scene.active, scene.backends[ONE].dials) == (0, [0], 1)


def test_who_finished_without_a_word_before_it_had_to_wait_does_not(make_scene: Any) -> None:
    scene = make_scene(
        {ONE: "hangs", TWO: "accepts"}, members=[Backend(a, max_connections=1) for a in (ONE, TWO)], queue=3
    )
    leaver = scene.connect()
    scene.connect()
    scene.run()
    leaver.finish()
    scene.run()
    # Nobody is left but one that is full, once the first is found out.
    scene.backends[ONE].behaviour = "refuses"
    scene.run()
    assert len(scene.pool.queue) == 0
    assert scene.ended == "client_closed"


def test_the_time_is_one_for_all_turns_of_a_client(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, queue_timeout=4.0, retries=20)
    held = scene.connect()
    scene.run()
    waiting = scene.connect(early=b"question")
    scene.advance(3)
    scene.backends[ONE].behaviour = "refuses"
    held.reset()
    scene.run()  # its turn, and a failure
    scene.backends[ONE].behaviour = "accepts"
    other = scene.connect(early=b"other")
    scene.run()
    assert other.saw == "open"
    scene.advance(4)
    assert waiting.saw in {"fin", "reset"}
    assert scene.records[-1].reason.word == "queue_timeout"


def test_time_alone_can_make_room(make_scene: Any) -> None:
    scene = one_at_a_time(
        make_scene, ONE, TWO, queue_timeout=60.0, outlier=OutlierConfig(consecutive_failures=1, eject_for=5.0)
    )
    ill = scene.pool.backends[0]
    slot = scene.pool.take(ill, None)
    slot.failed(0.001, "refused")
    slot.release()
    scene.connect()
    waiting = scene.connect(early=b"question")
    scene.advance(4)
    assert (ill.state, len(scene.pool.queue)) == ("ejected", 1)
    scene.advance(3)
    assert (scene.backends[ONE].connections[-1].received, waiting.saw) == (b"question", "open")


def test_one_that_dies_does_not_swallow_the_queue(make_scene: Any) -> None:
    scene = make_scene(
        [ONE, TWO], members=[Backend(a, max_connections=2) for a in (ONE, TWO)], queue=50, queue_timeout=60.0
    )
    clients = [scene.connect(early=b"x") for _ in range(24)]
    scene.run()
    assert len(scene.pool.queue) == 20
    scene.backends[ONE].behaviour = "refuses"
    for connection in scene.backends[ONE].connections:
        connection.send(b"a")
        scene.run()
        connection.reset()
    scene.advance(5)
    assert scene.backends[ONE].dials <= 2 + 4
    served = 0
    while served < 18:
        connection = scene.backends[TWO].connections[served]
        connection.send(b"a")
        scene.run()
        connection.reset()
        scene.run()
        served += 1
    assert sum(record.reason.word == "connect_failed" for record in scene.records) == 0
    assert all(client.saw == "reset" for client in clients[:2])


@pytest.mark.parametrize("how", ["down", "drained"])
def test_those_who_wait_are_told_at_once_when_the_last_backend_has_gone(make_scene: Any, how: str) -> None:
    scene = one_at_a_time(make_scene, ONE, TWO, queue_timeout=60.0)
    held = [scene.connect() for _ in range(2)]
    waiting = [scene.connect(early=b"question") for _ in range(3)]
    scene.run()
    first, second = scene.pool.backends
    scene.pool.mark_down(first, "refused")
    scene.advance(5)
    assert len(scene.pool.queue) == 3
    if how == "down":
        scene.pool.mark_down(second, "refused")
    else:
        scene.pool.set_admin_state(second, AdminState.DRAIN)
    scene.advance(0.1)
    assert all(client.saw in {"fin", "reset"} for client in waiting)
    assert [record.reason.word for record in scene.records] == ["no_backend"] * 3
    assert all(client.saw == "open" for client in held)
    assert (len(scene.pool.queue), scene.active) == (0, [1, 1])


def test_a_backend_that_is_back_in_the_same_moment_keeps_its_queue(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    held = scene.connect()
    waiting = scene.connect(early=b"question")
    scene.run()
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    scene.pool.mark_up(scene.pool.backends[0])
    scene.advance(0.1)
    assert (waiting.saw, len(scene.pool.queue)) == ("open", 1)
    held.reset()
    scene.run()
    assert scene.backends[ONE].connections[-1].received == b"question"


def test_who_waits_for_a_home_that_is_drained_goes_on_waiting_for_it(make_scene: Any) -> None:
    scene, (first, _) = at_home(make_scene)
    scene.connect(address=of(3))
    scene.run()
    scene.pool.set_admin_state(scene.pool.backends[0], AdminState.DRAIN)
    scene.pool.mark_down(scene.pool.backends[1], "refused")
    scene.advance(0.1)
    assert (scene.ended, len(scene.pool.queue)) == ("no_backend", 1)
    first.reset()
    scene.run()
    assert scene.backends[ONE].connections[-1].received == b"mine"


def test_a_last_backend_that_dies_ends_no_more_than_a_turn_of_the_wheel_allows(make_scene: Any) -> None:
    """Nobody is ended within the call that has brought the news."""
    scene = one_at_a_time(make_scene, ONE, queue=100)
    for number in range(100):
        scene.connect(address=of(number))
    scene.run()
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    assert len(scene.pool.queue) == 99
    scene.advance(0.1)
    assert len(scene.pool.queue) == 0


def test_nobody_is_told_of_full_backends_where_all_are_down(make_scene: Any) -> None:
    """Also who joins the queue in the moment in which the last one goes."""
    scene = one_at_a_time(make_scene, ONE)
    scene.connect()
    scene.connect()
    scene.run()
    scene.pool.backends[0].available = False  # nobody is told of it
    scene.advance(2)
    assert scene.ended == "no_backend"
    scene.pool.backends[0].available = True


def test_an_exception_in_a_turn_is_that_sessions_own(carrier: Any) -> None:
    scene = carrier([ONE], members=[Backend(ONE, max_connections=1)], queue=3)
    first = scene.connect()
    second = scene.connect(early=b"question")
    scene.run()
    connect = scene.network.connector.connect
    scene.network.connector.connect = lambda *_: 1 / 0
    with capturedLogs() as events:
        first.reset()
        scene.run()
    scene.network.connector.connect = connect
    assert sorted(record.reason.word for record in scene.records) == ["client_reset", "internal_error"]
    assert (scene.frontend.registry.sessions, scene.active, second.saw) == (set(), [0], "reset")
    assert [event["log_failure"].type for event in events if "log_failure" in event] == [ZeroDivisionError]


def test_a_dial_that_is_ended_while_it_gives_its_place_on_does_not_go_on(carrier: Any) -> None:
    """The one whose turn it is ends, and whoever takes its account ends all the others."""
    scene = one_at_a_time(carrier, ONE, retries=5)
    scene.backends[ONE].behaviour = "hangs"
    scene.connect(early=b"first")
    scene.connect(early=b"second")
    scene.run()
    take_account = scene.frontend.registry.on_record
    scene.frontend.registry.on_record = lambda record: (
        take_account(record),
        scene.frontend.registry.end_sessions(EndReason.SHUTDOWN),
    )
    connect = scene.network.connector.connect
    scene.network.connector.connect = lambda *_: 1 / 0
    scene.backends[ONE].behaviour = "refuses"
    with capturedLogs():
        scene.run()
    scene.network.connector.connect = connect
    assert sorted(record.reason.word for record in scene.records) == ["internal_error", "shutdown"]
    scene.advance(3)
    assert (scene.active, scene.pool.retry_budget.taken) == ([0], 0)
    assert scene.network.clock.getDelayedCalls() == []


def test_one_who_gets_a_turn_and_fails_tries_another_time(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect()
    scene.run()
    waiting = scene.connect(early=b"question")
    scene.run()
    scene.backends[ONE].behaviour = "refuses"
    first.reset()
    scene.run()
    scene.backends[ONE].behaviour = "accepts"
    scene.advance(4)
    assert (scene.backends[ONE].connections[-1].received, waiting.saw) == (b"question", "open")


def test_a_retry_that_has_to_queue_takes_nothing_of_the_budget(make_scene: Any) -> None:
    scene = make_scene(
        {ONE: "hangs", TWO: "accepts"}, members=[Backend(ONE), Backend(TWO, max_connections=1)], queue=3
    )
    scene.connect()
    scene.connect()
    scene.run()
    scene.backends[ONE].behaviour = "refuses"
    scene.run()
    assert (len(scene.pool.queue), scene.pool.retry_budget.taken) == (1, 0)


def test_who_has_waited_is_announced_as_the_pool_wants_it_by_then(make_scene: Any) -> None:
    one = Backend(ONE, max_connections=1)
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect(early=b"first")
    scene.connect(early=b"PROXY I am somebody else")
    scene.run()
    settings: dict[str, Any] = {"queue": 10, "send_proxy_protocol": "v1"}
    scene.pool.prepare_as(described([one], "pool", **settings))()
    answers(scene)
    finish(scene, first)
    received = scene.backends[ONE].connections[-1].received
    assert received.startswith(b"PROXY TCP4 198.51.100.7 ")
    assert received.endswith(b"\r\nPROXY I am somebody else")


def test_who_has_waited_is_not_announced_where_the_pool_does_not_want_it_any_more(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, send_proxy_protocol="v1")
    first = scene.connect(early=b"first")
    scene.connect(early=b"second")
    scene.run()
    one = Backend(ONE, max_connections=1)
    scene.pool.prepare_as(described([one], "pool", queue=10))()
    answers(scene)
    finish(scene, first)
    assert scene.backends[ONE].connections[-1].received == b"second"
