"""A worker as the supervisor has it: what it takes before it is there, and what is sent once it is."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from support.descriptors import no_descriptor_free, open_descriptors
from support.watcher import Watcher
from tcpbalance.workers import messages
from tcpbalance.workers.messages import MessageError
from tcpbalance.workers.nursery_process import Forked, NoWorkerError
from tcpbalance.workers.worker_process import WorkerProcess


class Nursery:
    """Forks when the test says so."""

    def __init__(self) -> None:
        self.forked: Deferred[Forked] = Deferred()
        self.theirs = -1

    def fork(self, content: Any, descriptors: Any) -> Deferred[Forked]:
        self.theirs = os.dup(descriptors[0])
        return self.forked


class Scene:
    """A worker, and what it reports."""

    def __init__(self) -> None:
        # Memory that another test has mapped is closed with the last cycle that refers to it.
        gc.collect()
        self.before = open_descriptors()
        self.reactor, self.nursery = Watcher(), Nursery()
        self.ended: list[WorkerProcess] = []
        self.greet: Callable[[WorkerProcess], None] = lambda process: process.send({"greeting": 1}, [0])
        self.process = WorkerProcess(self.reactor, 0, 0, cast(Any, self.nursery), cast(Any, self), timeout=10)

    def has_forked(self, process: WorkerProcess) -> None:
        self.greet(process)

    def has_ended(self, process: WorkerProcess) -> None:
        self.ended.append(process)

    def fork(self) -> int:
        """Fork a process that waits; give its number."""
        self.process.start()
        pid = os.fork()
        if not pid:
            signal.pause()
            os._exit(0)
        self.nursery.forked.callback(Forked(pid, os.pidfd_open(pid)))
        return pid

    def sent(self) -> list[Any]:
        """What has come to the process."""
        words: list[str] = []
        with socket.socket(fileno=os.dup(self.nursery.theirs)) as theirs:
            theirs.setblocking(False)
            while True:
                try:
                    message = messages.receive(theirs)
                except BlockingIOError:
                    return words
                if message is None:
                    return words
                words.append(next(iter(message.content)))
                message.close()

    def end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        for reader in list(self.reactor.readers):
            if reader in self.reactor.readers:
                reader.doRead()

    def close(self) -> None:
        if self.nursery.theirs >= 0:
            os.close(self.nursery.theirs)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()
    assert made.ended == [made.process]
    assert not made.reactor.readers
    assert open_descriptors() == made.before


def test_before_it_is_there_it_takes_no_descriptors_for_what_it_is_sent(scene: Scene) -> None:
    before = open_descriptors()
    for _ in range(100):
        scene.process.send({"files": 1}, [0] * 50)
    assert open_descriptors() == before
    scene.process.start()
    assert not scene.process.is_greeted
    scene.nursery.forked.errback(NoWorkerError("no memory"))
    assert scene.process.why_ended == "no memory"


def test_it_is_greeted_once_it_is_there(scene: Scene) -> None:
    scene.process.send({"too_early": 1})
    pid = scene.fork()
    assert scene.process.is_greeted
    scene.process.send({"next": 1})
    assert scene.sent() == ["greeting", "next"]
    scene.end(pid)


@pytest.mark.parametrize("by", ["signal", "timeout", "error"])
def test_by_what_it_has_ended_is_known(scene: Scene, by: str) -> None:
    if by == "error":
        scene.greet = lambda process: process.send({"greeting": "x" * messages.MAX_MESSAGE})
    pid = scene.fork()
    if by == "timeout":
        scene.process.kill("has not answered for 10 s")
    scene.end(pid)
    assert (scene.process.ended_by, bool(scene.process.why_ended)) == (by, True)


def test_one_that_was_to_drain_has_ended_by_nothing_else(scene: Scene) -> None:
    scene.process.start()
    pid = os.fork()
    if not pid:
        os._exit(0)
    scene.nursery.forked.callback(Forked(pid, os.pidfd_open(pid)))
    scene.process.drain()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    scene.end(pid)
    assert (scene.process.ended_by, scene.process.why_ended) == ("", "")


def test_one_that_exits_unasked_has_ended_by_that(scene: Scene) -> None:
    scene.process.start()
    pid = os.fork()
    if not pid:
        os._exit(3)
    scene.nursery.forked.callback(Forked(pid, os.pidfd_open(pid)))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    scene.end(pid)
    assert (scene.process.ended_by, scene.process.why_ended) == ("exit", "it ended with status 3")


def test_one_that_is_to_drain_before_it_is_there_is_not_greeted(scene: Scene) -> None:
    scene.process.drain()
    pid = scene.fork()
    assert not scene.process.is_greeted
    assert scene.sent() == ["drain"]
    scene.end(pid)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(24, os.strerror(24)), "too many open files: raise the limit of open files"),
        (MessageError("it is too long"), "it is too long"),
        (ValueError("trouble"), "ValueError('trouble')"),
    ],
)
def test_one_that_cannot_be_greeted_is_ended(
    scene: Scene, lines: list[str], error: Exception, reason: str
) -> None:
    def fail(_: WorkerProcess) -> None:
        raise error

    scene.greet = fail
    pid = scene.fork()
    assert f"worker 0 (process {pid}) cannot be sent what it has to know: {reason}" in lines[-1]
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    scene.end(pid)


def test_without_descriptors_nothing_is_left_open() -> None:
    before = open_descriptors()
    with no_descriptor_free(), pytest.raises(OSError, match="Too many open files"):
        WorkerProcess(Watcher(), 0, 0, cast(Any, Nursery()), cast(Any, None), timeout=10)
    assert open_descriptors() == before
