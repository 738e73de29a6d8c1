"""Pipes are lent while there are any, taken back empty, and closed when they are not wanted."""

from __future__ import annotations

from support.memory_pipes import MemoryPipes
from support.memory_socket import connected_pair
from tcpbalance.net.splice import STORE, Pipe, PipeStore


def taken(store: PipeStore) -> Pipe:
    pipe = store.take()
    assert pipe is not None
    return pipe


def test_a_pipe_that_comes_back_empty_is_lent_again() -> None:
    pipes = MemoryPipes()
    store = pipes.store()
    pipe = taken(store)
    store.give(pipe)
    assert taken(store) is pipe
    assert (store.lent, pipes.made) == (1, 1)


def test_a_pipe_that_still_holds_bytes_is_closed_and_not_lent_again() -> None:
    pipes = MemoryPipes()
    store = pipes.store()
    pipe = taken(store)
    ours, theirs = connected_pair()
    theirs.send(b"somebody's secret")
    pipe.fill(ours)  # type: ignore[arg-type]  # it has what a memory pipe uses
    store.give(pipe)
    assert (store.lent, pipes.open) == (0, 0)
    assert taken(store) is not pipe


def test_no_more_are_lent_than_may_be() -> None:
    pipes = MemoryPipes()
    store = PipeStore(pipes.make, most=2)
    first, _ = taken(store), taken(store)
    assert store.take() is None
    store.give(first)
    assert taken(store) is first
    assert pipes.made == 2


def test_where_none_can_be_made_none_is_lent() -> None:
    pipes = MemoryPipes(most=1)
    store = pipes.store()
    pipe = taken(store)
    assert store.take() is None
    assert store.lent == 1
    store.give(pipe)
    assert taken(store) is pipe


def test_only_so_many_are_kept_ready() -> None:
    pipes = MemoryPipes()
    store = pipes.store()
    for pipe in [taken(store) for _ in range(STORE + 5)]:
        store.give(pipe)
    assert (store.lent, pipes.open) == (0, STORE)


def test_closing_closes_those_that_nobody_has() -> None:
    pipes = MemoryPipes()
    store = pipes.store()
    lent, idle = taken(store), taken(store)
    store.give(idle)
    store.close()
    assert pipes.open == 1
    store.give(lent)
    store.close()
    assert pipes.open == 0
