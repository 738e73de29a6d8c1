"""Pipes are lent while there are any, taken back empty, and closed when they are not wanted."""

from __future__ import annotations

import errno
import fcntl
import os
import resource

import pytest

from support.descriptors import open_descriptors, opened_since
from support.memory_pipes import MemoryPipes
from support.memory_socket import connected_pair
from tcpbalance.net.splice import (
    LARGE_PIPE,
    LARGE_PIPES,
    MAX_PIPES,
    PIPE_SIZE,
    STORE,
    KernelPipe,
    Pipe,
    PipeStore,
)


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
    pipe.fill(ours, 100)  # type: ignore[arg-type]  # it has what a memory pipe uses
    store.give(pipe)
    assert (store.lent, pipes.open) == (0, 0)
    assert taken(store) is not pipe


def test_no_more_are_lent_than_may_be() -> None:
    pipes = MemoryPipes()
    store = PipeStore(pipes.make, max_lent=2)
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


def test_a_pipe_that_is_refused_its_size_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an unprivileged user's are past fs.pipe-user-pages-soft: pipe(7)."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    before = open_descriptors()
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    assert PipeStore().take() is None
    assert opened_since(before) == {}


def test_no_more_than_a_share_of_the_descriptors_go_to_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, lent in ((64, 4), (resource.RLIM_INFINITY, MAX_PIPES)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        pipes = MemoryPipes(most=2 * MAX_PIPES)
        store = PipeStore(pipes.make)
        while store.take():
            pass
        assert (store.lent, pipes.made) == (lent, lent)


def test_all_pipes_together_hold_little_more_than_a_quarter_of_a_gibibyte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store = PipeStore(MemoryPipes(most=2 * MAX_PIPES).make)
    sizes = []
    while pipe := store.take():
        sizes.append(pipe.size)
    assert len(sizes) == MAX_PIPES
    assert 256 << 20 <= sum(sizes) < 260 << 20


def test_both_directions_of_a_session_hold_half_a_mebibyte_at_most_by_small_pipes() -> None:
    assert 2 * PIPE_SIZE <= 512 * 1024


def test_the_first_pipes_are_large_and_all_others_small() -> None:
    store = MemoryPipes().store()
    sizes = [taken(store).size for _ in range(LARGE_PIPES + 3)]
    assert sizes == [LARGE_PIPE] * LARGE_PIPES + [PIPE_SIZE] * 3


@pytest.mark.parametrize("order", [1, -1])
def test_large_pipes_are_lent_first_whichever_came_back_last(order: int) -> None:
    store = MemoryPipes().store()
    lent = [taken(store) for _ in range(LARGE_PIPES + 3)]
    for pipe in lent[::order]:
        store.give(pipe)
    sizes = [taken(store).size for _ in lent]
    assert sizes == [LARGE_PIPE] * LARGE_PIPES + [PIPE_SIZE] * 3


@pytest.mark.parametrize("closes", ["with bytes in it", "as one too many", "with the store"])
def test_another_large_pipe_is_made_for_one_that_was_closed(closes: str) -> None:
    pipes = MemoryPipes()
    store = pipes.store()
    lent = [taken(store) for _ in range(LARGE_PIPES if closes != "as one too many" else LARGE_PIPES + STORE)]
    if closes == "with bytes in it":
        lent[0].content += b"left"  # type: ignore[attr-defined]  # it is a memory pipe
        store.give(lent[0])
    else:
        for pipe in lent[::-1]:
            store.give(pipe)
    if closes == "with the store":
        store.close()
    while True:
        pipe = taken(store)
        if pipe not in lent:
            break
    assert pipe.size == LARGE_PIPE


def test_a_small_pipe_is_lent_where_no_large_one_is_to_be_had() -> None:
    """fs.pipe-max-size may be less than that: pipe(7)."""

    def make(size: int) -> Pipe:
        if size > PIPE_SIZE:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return KernelPipe(size)

    store = PipeStore(make)
    pipe = taken(store)
    assert pipe.size == PIPE_SIZE
    store.give(pipe)
    store.close()


@pytest.mark.parametrize("size", [PIPE_SIZE, LARGE_PIPE])
def test_the_kernel_gives_a_pipe_the_size_that_it_is_asked_for(size: int) -> None:
    pipe = KernelPipe(size)
    try:
        assert fcntl.fcntl(pipe._writer, fcntl.F_GETPIPE_SZ) == pipe.size == size
    finally:
        pipe.close()
