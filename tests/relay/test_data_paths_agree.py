"""The same deeds over the portable and the native data path come to the same end.

Every deed is followed by all that follows from it, so that nothing depends on how many turns something takes.
Three differences are right:

* A transport hears of a reset at once, a stock transport that is not read when it next reads or writes. So
  what comes from the other side after a reset may be counted on the portable data path and not on the native
  one. A reset is the last deed here, because a later one would meet a session that is over on one data path
  only.
* How much is read for a side that does not read differs by a read: bytes are sent at once on the native data
  path and in the next turn on the portable one. Nobody has stopped reading here when somebody breaks off,
  because then it differs what was lost, and whether another backend can still be given all that the client
  has sent.
* A transport reads the end of a stream when all that came before it has been taken, a stock transport reads
  on while up to 64 KiB wait. So of two that finish while one does not read, either may count as the first.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from support.bulk_thresholds import bulk_comes_early
from support.memory_pipes import MemoryPipes
from support.network import no_logged_failure
from support.scene import ONE, RETRY_ON_RESET, TWO, CopyingScene, Scene, SplicingScene

SIDES = st.sampled_from(["client", "backend"])
Deed = tuple[Any, ...]
WORDS: st.SearchStrategy[Deed] = st.one_of(
    st.tuples(st.just("send"), SIDES, st.sampled_from([1, 1000, 70_000, 700_000])),
    st.tuples(st.just("finish"), SIDES),
)
STALLS: st.SearchStrategy[Deed] = st.tuples(st.sampled_from(["stop_reading", "start_reading"]), SIDES)
RESETS: st.SearchStrategy[Deed] = st.tuples(st.just("reset"), SIDES)


@st.composite
def plots(draw: st.DrawFn) -> list[Deed]:
    """What the two do: either now and then one reads no further, or in the end one breaks off."""
    if draw(st.booleans()):
        return draw(st.lists(WORDS | STALLS, max_size=20))
    return [*draw(st.lists(WORDS, max_size=20)), draw(RESETS)]


@frozen
class Outcome:
    """How a play ended, for each peer and for each session."""

    received: list[bytes]
    saw: list[str]
    reasons: list[str]
    orderly: list[bool]
    attempts: list[int]
    counted: list[int]
    a_peer_broke_off: bool
    a_reader_stopped: bool


def play(scene: Scene, deeds: list[Deed], early: bytes) -> Outcome:
    """Do everything, let everybody read at the end, and tell what came of it."""
    noise = random.Random(0)
    scene.connect(early=early)
    scene.run()
    for deed, side, *size in deeds:
        for peer in actors(scene, side):
            if deed != "send":
                getattr(peer, deed)()
            elif not peer.finished:
                peer.send(noise.randbytes(*size))
        scene.run()
    everybody = peers(scene)
    for peer in everybody:
        peer.start_reading()
    scene.run()
    part(scene)
    outcome = Outcome(
        received=[peer.received for peer in everybody],
        saw=[peer.saw for peer in everybody],
        reasons=[record.reason.word for record in scene.records],
        orderly=[record.reason.orderly for record in scene.records],
        attempts=[record.attempts for record in scene.records],
        counted=[n for record in scene.records for n in (record.client_bytes, record.backend_bytes)],
        a_peer_broke_off=any(peer.on_connection_error for peer in everybody),
        a_reader_stopped=any(deed == "stop_reading" for deed, *_ in deeds),
    )
    scene.leave()
    assert scene.leftovers() == []
    return outcome


def check(quick: Outcome, portable: Outcome) -> None:
    """Both must have come to the same, save for what may differ."""
    if quick.a_reader_stopped:
        quick, portable = evolve(quick, reasons=[]), evolve(portable, reasons=[])
    if quick.a_peer_broke_off:
        assert all(map(int.__le__, quick.counted, portable.counted))
        quick, portable = evolve(quick, counted=[]), evolve(portable, counted=[])
    assert quick == portable


def part(scene: Scene) -> None:
    """Everybody asks twice whether there is anybody, so that a reset cannot go unnoticed, and finishes."""
    for side in ("client", "backend"):
        for _ in range(2):
            for peer in actors(scene, side):
                if not peer.finished:
                    peer.send(b"anybody there?")
            scene.run()
    for side in ("client", "backend"):
        for peer in actors(scene, side):
            peer.finish()
        scene.run()


def peers(scene: Scene) -> list[Any]:
    return [*scene.clients, *(peer for backend in scene.backends.values() for peer in backend.connections)]


def actors(scene: Scene, side: str) -> list[Any]:
    """Who is at that side and has not closed; at the backend's, who was reached last."""
    (client, *backends) = peers(scene)
    return [peer for peer in ([client] if side == "client" else backends[-1:]) if not peer.socket.closed]


@pytest.mark.parametrize("quick", [CopyingScene, SplicingScene])
@given(
    size=st.sampled_from([4_000, 32_000, 200_000]),
    pipe=st.sampled_from([1_500, 50_000]),
    backend=st.sampled_from(["accepts", "accepts", "refuses", "resets_at_once"]),
    early=st.binary(max_size=3),
    deeds=plots(),
    retry=st.sampled_from([{}, RETRY_ON_RESET]),
)
def test_both_data_paths_come_to_the_same_end(
    quick: type[Scene],
    size: int,
    pipe: int,
    backend: Any,
    early: bytes,
    deeds: list[Deed],
    retry: dict[str, Any],
) -> None:
    network: dict[str, Any] = {"send_buffer": size, "receive_buffer": size}
    backends: Any = {ONE: backend, TWO: "accepts"}
    with no_logged_failure(), bulk_comes_early():
        there = play(Scene(backends, network=network, **retry), deeds, early)
        network["pipes"] = MemoryPipes(size=pipe)
        here = play(quick(backends, network=network, **retry), deeds, early)
    check(here, there)
