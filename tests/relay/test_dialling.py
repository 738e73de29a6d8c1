"""Reaching a backend: the next one when one fails, each at most once, with all that the client has sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from support.scene import FOUR, ONE, RETRY_ON_RESET, THREE, TWO
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyTools

FAILURES = {"refuses": "refused", "hangs": "timed out after 3 s", "resets_at_once": "reset"}
"""How a backend fails, with what the account says of it; the last where the pool retries on it."""

KEPT = 64 * 1024
"""Bytes of the client's that are kept for a backend that is not there or has said nothing yet."""


@pytest.mark.parametrize("failure", FAILURES)
def test_the_next_backend_is_tried(make_scene: Any, failure: str) -> None:
    scene = make_scene({ONE: failure, TWO: "accepts"}, **RETRY_ON_RESET)
    client = scene.connect()
    client.send(b"question")
    scene.advance(4)
    backend = scene.backends[TWO].connection
    assert (backend.received, client.saw) == (b"question", "open")
    assert scene.active == [0, 1]
    backend.send(b"answer")
    backend.finish()
    client.finish()
    scene.run()
    assert (client.received, client.saw) == (b"answer", "fin")
    record = scene.record
    assert (record.backend, record.attempts, record.cause) == (TWO, 2, FAILURES[failure])


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_at_most_so_many_others_are_tried(make_scene: Any, failure: str, retries: int) -> None:
    retry_on = RETRY_ON_RESET if retries else {}
    scene = make_scene(dict.fromkeys((ONE, TWO, THREE, FOUR), failure), retries=retries, **retry_on)
    scene.connect(early=b"question")
    scene.advance(20)
    assert [backend.dials for backend in scene.backends.values()] == [1] * (retries + 1) + [0] * (3 - retries)
    assert scene.record.attempts == retries + 1
    assert scene.record.cause == FAILURES[failure]
    assert scene.active == [0] * 4


@pytest.mark.parametrize("failure", FAILURES)
def test_the_last_failure_is_told(make_scene: Any, failure: str) -> None:
    scene = make_scene({ONE: failure}, retries=0)
    client = scene.connect()
    scene.advance(20)
    assert client.saw == ("reset" if failure == "resets_at_once" else "fin")


def test_everybody_refuses(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "refuses"}, retries=1)
    client = scene.connect()
    scene.run()
    assert client.saw == "fin"
    record = scene.record
    assert (record.reason.word, record.reason.closer) == ("connect_failed", "balancer")
    assert (record.backend, record.connect, record.attempts) == (None, None, 2)


def test_everybody_resets_before_the_first_byte(make_scene: Any) -> None:
    """The client is told what the backends did."""
    scene = make_scene({ONE: "resets_at_once", TWO: "resets_at_once"}, retries=1, **RETRY_ON_RESET)
    client = scene.connect(early=b"question")
    scene.run()
    assert client.saw == "reset"
    assert scene.ended == "backend_reset"


def test_a_session_that_redials_belongs_to_no_backend(make_scene: Any) -> None:
    """Who is reset when a backend goes down is decided by this."""
    scene = make_scene({ONE: "resets_at_once", TWO: "hangs"}, **RETRY_ON_RESET)
    scene.connect(early=b"question")
    scene.run()
    (session,) = scene.frontend.registry.sessions
    assert session.served_by is None
    scene.backends[TWO].behaviour = "accepts"
    scene.advance(1)
    scene.run()
    scene.advance(100)


def test_a_reset_before_the_first_byte_replays_everything(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect(early=b"one ")
    scene.run()
    client.send(b"two ")
    scene.run()
    first = scene.backends[ONE].connection
    assert first.received == b"one two "
    first.reset()
    scene.run()
    client.send(b"three")
    scene.run()
    second = scene.backends[TWO].connection
    assert second.received == b"one two three"
    assert (client.saw, scene.active) == ("open", [0, 1])


def test_a_replay_ends_as_the_client_did(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect(early=b"question")
    client.finish()
    scene.run()
    first = scene.backends[ONE].connection
    assert (first.received, first.saw) == (b"question", "fin")
    first.reset()
    scene.run()
    second = scene.backends[TWO].connection
    assert (second.received, second.saw, client.saw) == (b"question", "fin", "open")
    second.send(b"answer")
    second.finish()
    scene.run()
    assert (client.received, client.saw) == (b"answer", "fin")
    assert (scene.ended, scene.record.backend) == ("client_closed", TWO)


def test_a_reset_after_the_first_byte_is_final(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect(early=b"question")
    scene.run()
    first = scene.backends[ONE].connection
    first.send(b"a")
    scene.run()
    first.reset()
    scene.run()
    assert client.saw == "reset"
    assert scene.backends[TWO].dials == 0
    assert (scene.ended, scene.record.backend) == ("backend_reset", ONE)


def test_a_first_byte_that_comes_with_the_reset_is_final(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect(early=b"question")
    scene.run()
    first = scene.backends[ONE].connection
    first.send(b"a")
    first.reset()
    scene.run()
    assert client.saw == "reset"
    assert scene.backends[TWO].dials == 0


def test_a_backend_that_ends_before_its_first_byte_is_believed(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect(early=b"question")
    scene.run()
    scene.backends[ONE].connection.finish()
    scene.run()
    assert client.saw == "fin"
    assert scene.backends[TWO].dials == 0


def test_a_client_that_sent_too_much_to_be_kept_sees_the_reset(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect()
    scene.run()
    client.send(bytes(1_000_000))
    scene.run()
    scene.backends[ONE].connection.reset()
    scene.run()
    client.send(b"x")
    scene.run()
    assert client.saw == "reset"
    assert scene.backends[TWO].dials == 0


@pytest.mark.parametrize("size", [KEPT, KEPT + 1])
def test_all_or_nothing_is_replayed(make_scene: Any, size: int) -> None:
    scene = make_scene([ONE, TWO], **RETRY_ON_RESET)
    client = scene.connect()
    scene.run()
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    client.send(data)
    scene.run()
    scene.backends[ONE].connection.reset()
    scene.run()
    again = [connection.received for connection in scene.backends[TWO].connections]
    assert (client.saw, again) == (("open", [data]) if size <= KEPT else ("reset", []))


@pytest.mark.parametrize("failure", FAILURES)
def test_trying_many_backends_keeps_no_more(make_scene: Any, failure: str) -> None:
    addresses = [f"10.0.1.{number}:80" for number in range(20)]
    scene = make_scene(dict.fromkeys(addresses, failure), retries=len(addresses) - 1, **RETRY_ON_RESET)
    for backend in scene.backends.values():
        backend.turns = 2
    client = scene.connect(early=b"x")
    scene.network.step()
    client.send(bytes(4_000_000))
    most = 0
    while not scene.records:
        scene.network.step()
        most = max(most, scene.kept)
        if failure == "hangs" and not scene.network.step():
            scene.advance(1)
    assert most < 512 * 1024


def test_a_replay_goes_on_when_the_second_is_slow(make_scene: Any) -> None:
    scene = make_scene({ONE: "resets_at_once", TWO: "hangs"}, **RETRY_ON_RESET)
    client = scene.connect()
    client.send(bytes(300_000))
    scene.run()
    client.finish()
    scene.backends[TWO].behaviour = "accepts"
    scene.run()
    backend = scene.backends[TWO].connection
    assert (len(backend.received), backend.saw, client.saw) == (300_000, "fin", "open")


# By default what a backend may have worked on is given to no other


@pytest.mark.parametrize("early", [b"", b"question"])
def test_a_reset_before_the_first_byte_is_told_to_the_client(make_scene: Any, early: bytes) -> None:
    scene = make_scene([ONE, TWO])
    client = scene.connect(early=early)
    scene.run()
    if not early:
        client.send(b"question")
        scene.run()
    first = scene.backends[ONE].connection
    assert first.received == b"question"
    first.reset()
    scene.run()
    assert (client.saw, scene.backends[TWO].dials, scene.active) == ("reset", 0, [0, 0])
    record = scene.record
    assert (record.reason.word, record.backend, record.attempts) == ("backend_reset", ONE, 1)
    assert record.cause == "reset"


def test_one_request_kills_one_backend(make_scene: Any) -> None:
    scene = make_scene(dict.fromkeys((ONE, TWO, THREE), "resets_at_once"))
    client = scene.connect(early=b"kills who reads it")
    scene.advance(60)
    assert client.saw == "reset"
    assert [backend.dials for backend in scene.backends.values()] == [1, 0, 0]


@pytest.mark.parametrize("failure", ["refuses", "hangs"])
def test_another_backend_is_tried_until_one_has_accepted(make_scene: Any, failure: str) -> None:
    scene = make_scene({ONE: failure, TWO: "resets_at_once", THREE: "accepts"})
    client = scene.connect(early=b"question")
    scene.advance(10)
    assert client.saw == "reset"
    assert [backend.dials for backend in scene.backends.values()] == [1, 1, 0]


def test_nothing_is_kept_once_a_backend_has_accepted(make_scene: Any) -> None:
    scene = make_scene([ONE])
    client, backend = scene.joined(early=b"question")
    client.send(b" and more")
    scene.run()
    assert (backend.received, scene.kept) == (b"question and more", 0)


# The client goes while nobody is there yet


@pytest.mark.parametrize("failure", ["refuses", "hangs"])
def test_a_client_that_left_without_a_byte_is_not_dialled_for_through_all_retries(
    make_scene: Any, failure: str
) -> None:
    scene = make_scene({ONE: failure}, retries=100, dial_timeout=1000.0)
    client = scene.connect()
    client.finish()
    scene.advance(2)
    assert (client.saw, scene.ended, scene.active) == ("fin", "client_closed", [0])
    dials = scene.backends[ONE].dials
    assert dials == (1 if failure == "hangs" else dials) < 8
    scene.advance(100)
    assert scene.backends[ONE].dials == dials


def test_a_client_that_only_reads_is_served_where_a_backend_accepts_soon(make_scene: Any) -> None:
    """Half-closing and closing look the same."""
    scene = make_scene({ONE: "refuses", TWO: "hangs"})
    client = scene.connect()
    client.finish()
    scene.advance(0.4)
    scene.backends[TWO].behaviour = "accepts"
    scene.run()
    backend = scene.backends[TWO].connection
    assert backend.saw == "fin"
    backend.send(b"banner")
    backend.finish()
    scene.run()
    assert (client.received, scene.ended) == (b"banner", "client_closed")


def test_a_client_that_has_asked_and_finished_is_dialled_for_as_any_other(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs", TWO: "hangs"})
    client = scene.connect(early=b"question")
    client.finish()
    scene.advance(5)
    scene.backends[TWO].behaviour = "accepts"
    scene.run()
    backend = scene.backends[TWO].connection
    assert (backend.received, backend.saw, client.saw) == (b"question", "fin", "open")


def test_nor_is_it_when_its_backend_breaks_off_meanwhile(make_scene: Any) -> None:
    scene = make_scene({ONE: "accepts", TWO: "hangs"}, **RETRY_ON_RESET)
    client = scene.connect()
    scene.run()
    client.finish()
    scene.run()
    scene.advance(20)
    scene.backends[ONE].connection.reset()
    scene.advance(2)
    assert (scene.ended, scene.backends[TWO].dials) == ("client_closed", 1)


def test_a_client_resets_while_dialling(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect()
    scene.run()
    assert scene.active == [1]
    client.reset()
    scene.run()
    assert scene.network.dialled == []
    assert (scene.active, scene.ended) == ([0], "client_reset")
    assert scene.record.attempts == 1
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert scene.backends[ONE].connections == []


def test_a_client_resets_while_dialling_with_early_bytes(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect(early=b"question")
    scene.run()
    client.reset()
    scene.run()
    assert (scene.active, scene.ended, scene.record.client_bytes) == ([0], "client_reset", 8)


def test_a_client_that_is_held_up_resets_while_dialling(make_scene: Any) -> None:
    """It is read no further, so its reset shows when the dial has ended; nothing is held longer than that."""
    scene = make_scene({ONE: "hangs"}, connect_timeout=3, retries=0)
    client = scene.connect(early=bytes(1000))
    client.send(bytes(1_000_000))
    scene.run()
    client.reset()
    scene.advance(4)
    assert scene.active == [0]
    assert scene.leftovers() == []


def test_a_client_resets_between_two_attempts(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "hangs"})
    client = scene.connect()
    scene.run()
    assert scene.active == [0, 1]
    client.reset()
    scene.run()
    assert (scene.active, scene.ended, scene.record.attempts) == ([0, 0], "client_reset", 2)


# Nobody to dial


def test_no_backend_is_up(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO])
    for backend in scene.pool.backends:
        scene.pool.mark_down(backend, "status 503")
    client = scene.connect()
    scene.run()
    assert client.saw == "fin"
    record = scene.record
    assert (record.reason.word, record.reason.closer) == ("no_backend", "balancer")
    assert (record.attempts, record.backend, record.cause) == (0, None, "")
    assert all(backend.dials == 0 for backend in scene.backends.values())


def test_no_backend_for_a_client_that_has_sent_something(make_scene: Any) -> None:
    scene = make_scene([ONE])
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    client = scene.connect(early=b"question")
    scene.run()
    assert client.saw in {"fin", "reset"}
    assert scene.ended == "no_backend"


def test_all_backends_are_full(make_scene: Any) -> None:
    members = [Backend(ONE, max_connections=1), Backend(TWO, max_connections=2)]
    scene = make_scene([ONE, TWO], members=members)
    clients = [scene.connect() for _ in range(4)]
    scene.run()
    assert sorted(client.saw for client in clients) == ["fin", "open", "open", "open"]
    assert scene.ended == "no_backend"
    assert scene.active == [1, 2]


def test_a_place_that_is_given_back_is_taken_again(make_scene: Any) -> None:
    scene = make_scene([ONE], members=[Backend(ONE, max_connections=1)])
    for expected in ("open", "fin", "open"):
        client = scene.connect()
        scene.run()
        assert client.saw == expected
        if expected == "fin":
            scene.clients[0].reset()
            scene.run()


def test_a_dial_counts_as_a_connection(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, members=[Backend(ONE, max_connections=1)])
    scene.connect()
    second = scene.connect()
    scene.run()
    assert second.saw == "fin"


def test_a_backend_that_filled_up_meanwhile_is_passed_over(make_scene: Any) -> None:
    members = [Backend(ONE), Backend(TWO, max_connections=1), Backend(THREE)]
    scene = make_scene({ONE: "refuses", TWO: "accepts", THREE: "accepts"}, members=members)
    first = scene.connect()
    second = scene.connect()
    third = scene.connect()
    scene.run()
    assert [first.saw, second.saw, third.saw] == ["open"] * 3
    assert len(scene.backends[TWO].connections) == 1
    assert len(scene.backends[THREE].connections) == 2


def test_a_backend_that_fails_rests(make_scene: Any) -> None:
    scene = make_scene({ONE: "refuses", TWO: "accepts"})
    for _ in range(4):
        scene.connect()
        scene.run()
    assert scene.backends[ONE].dials == 1
    assert len(scene.backends[TWO].connections) == 4


def test_no_descriptor_is_left(make_scene: Any) -> None:
    """Another backend could do no better, and none is to blame."""
    scene = make_scene({ONE: "lacks_descriptor", TWO: "accepts"})
    client = scene.connect()
    scene.run()
    assert client.saw == "fin"
    assert (scene.ended, scene.record.attempts) == ("out_of_descriptors", 1)
    assert scene.backends[TWO].dials == 0
    assert scene.pool.backends[0].cooldown_until == 0


class Noting:
    """Offers all backends, and notes when it is told that no more are wanted."""

    def __init__(self) -> None:
        self.closed = 0
        self.backends: Sequence[Backend] = ()

    def __call__(self, backends: Sequence[Backend], tools: PolicyTools) -> Noting:
        self.backends = backends
        return self

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        try:
            yield from self.backends
        finally:
            self.closed += 1


def test_the_policy_is_told_when_the_backend_has_said_something(make_scene: Any) -> None:
    policy = Noting()
    scene = make_scene([ONE, TWO], balance=policy, **RETRY_ON_RESET)
    scene.connect(early=b"question")
    scene.run()
    assert policy.closed == 0
    scene.backends[ONE].connection.send(b"answer")
    scene.run()
    assert policy.closed == 1


def test_the_policy_is_told_when_a_backend_has_accepted_and_no_other_will_be_tried(make_scene: Any) -> None:
    policy = Noting()
    scene = make_scene([ONE, TWO], balance=policy)
    scene.connect(early=b"question")
    scene.run()
    assert policy.closed == 1


def test_the_policy_is_told_when_the_session_ends_before(make_scene: Any) -> None:
    policy = Noting()
    scene = make_scene({ONE: "hangs"}, balance=policy)
    client = scene.connect(early=b"question")
    scene.run()
    held = tuple(scene.frontend.registry.sessions)  # so that nothing is closed by being collected
    client.reset()
    scene.run()
    assert (policy.closed, scene.ended, len(held)) == (1, "client_reset", 1)
