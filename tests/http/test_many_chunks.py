"""Bodies of very many chunks: no turn walks over more than so many, and nothing is lost by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.http_scene import GET, HELLO, HttpScene, only_for
from tcpbalance.http.routes import FixedAnswer, Route
from tcpbalance.wire.http.chunks import MAX_CHUNKS, ChunkWalker

MakeScene = Callable[..., HttpScene]

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
COUNT = 10_000
CHUNKS, END = b"1\r\nx\r\n" * COUNT, b"0\r\n\r\n"

Steps = list[int]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Give how many steps each call has taken."""
    found: Steps = []
    feed = ChunkWalker.feed

    def counted(walker: ChunkWalker, data: bytes) -> Any:
        before = walker.steps
        spans = feed(walker, data)
        found.append(walker.steps - before)
        return spans

    monkeypatch.setattr(ChunkWalker, "feed", counted)
    return found


def turns(scene: HttpScene) -> Iterator[None]:
    """Let the reactor go on turn by turn."""
    for _ in range(200):
        scene.network.step()
        yield


def test_an_upload_takes_several_turns_and_comes_whole(make_scene: MakeScene, steps: Steps) -> None:
    scene = make_scene()
    client = scene.connect(POST + CHUNKS + END + GET)
    assert max(steps) <= 2 * MAX_CHUNKS
    assert len(steps) >= COUNT // MAX_CHUNKS
    body = scene.connection.received.partition(b"\r\n\r\n")[2]
    assert body.count(b"x") == COUNT
    assert body.endswith(END)
    scene.send(scene.connection, HELLO)
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["answered 200"] * 2
    assert client.received.count(b"hello") == 2
    assert scene.requests[0].client_bytes == len(POST + CHUNKS + END)


@pytest.mark.parametrize("cut", [10, len(POST), len(POST) + 2, len(POST) + 1500, len(POST) + 50_000])
def test_it_does_not_matter_where_it_is_cut(make_scene: MakeScene, steps: Steps, cut: int) -> None:
    scene = make_scene()
    data = POST + CHUNKS + END
    client = scene.connect(data[:cut])
    scene.send(client, data[cut:])
    assert scene.connection.received.partition(b"\r\n\r\n")[2].count(b"x") == COUNT
    assert max(steps) <= 2 * MAX_CHUNKS
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["answered 200"]


def test_a_download_takes_several_turns_and_comes_whole(make_scene: MakeScene, steps: Steps) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HEAD + CHUNKS + END)
    assert max(steps) <= 2 * MAX_CHUNKS
    assert len(steps) >= COUNT // MAX_CHUNKS
    assert client.received.partition(b"\r\n\r\n")[2].count(b"x") == COUNT
    assert (scene.ends, scene.connection.saw) == (["answered 200"], "open")
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"hello")


@pytest.mark.parametrize("end", ["reset", "finish"])
def test_what_a_backend_sent_before_its_end_is_passed_on(
    make_scene: MakeScene, steps: Steps, end: str
) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.connection.send(HEAD + CHUNKS)
    getattr(scene.connection, end)()
    scene.run()
    scene.advance(1.0)
    assert client.received.partition(b"\r\n\r\n")[2].count(b"x") == COUNT
    assert client.saw == "reset"


def test_the_end_of_the_connection_does_not_hide_the_end_of_the_body(
    make_scene: MakeScene, steps: Steps
) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.connection.send(HEAD + CHUNKS + END)
    scene.connection.finish()
    scene.run()
    assert client.received.partition(b"\r\n\r\n")[2].count(b"x") == COUNT
    assert (scene.ends, client.saw) == (["answered 200"], "open")


def test_what_follows_a_wrong_chunk_is_refused_in_its_turn(make_scene: MakeScene, steps: Steps) -> None:
    scene = make_scene()
    client = scene.connect(POST + CHUNKS + b"nonsense" + CHUNKS)
    assert scene.ends == ["bad_request 400"]
    assert b"HTTP/1.1 400 " in client.received


def test_a_client_that_leaves_meanwhile_is_given_up(make_scene: MakeScene, steps: Steps) -> None:
    scene = make_scene()
    client = scene.connect()
    client.send(POST + CHUNKS)
    for _ in turns(scene):
        if len(steps) == 2:
            break
    assert sum(steps) < COUNT
    client.reset()
    scene.run()
    assert scene.ends in (["client_reset 0"], ["client_closed 0"])


def test_others_are_served_between_two_parts_of_it(make_scene: MakeScene, steps: Steps) -> None:
    scene = make_scene(routes=lambda _: [(only_for(paths=["/now"]), Route(answer=FixedAnswer(200, None)))])
    other = scene.connect()
    client = scene.connect()
    client.send(POST + CHUNKS + END)
    for _ in turns(scene):
        if len(steps) == 2 and not other.received:
            other.send(GET.replace(b" / ", b" /now "))
        if other.received:
            break
    assert b"HTTP/1.1 200 " in other.received
    assert sum(steps) < COUNT
    scene.run()
    assert sum(steps) >= COUNT
