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
from tcpbalance.net.splice import FILL, MAX_PIPES, PIPE_SIZE, STORE, Pipe, PipeStore


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


def test_both_directions_of_a_session_together_hold_less_than_half_a_mebibyte() -> None:
    assert 2 * FILL < 512 * 1024
    assert FILL <= PIPE_SIZE
