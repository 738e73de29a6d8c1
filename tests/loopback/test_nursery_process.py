"""The nursery as the supervisor has it: what becomes of requests when something is missing, or it ends."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated

from support.descriptors import no_descriptor_free, open_descriptors
from support.watcher import Watcher
from tcpbalance.event import failure_of
from tcpbalance.workers.messages import Message
from tcpbalance.workers.nursery_process import NoWorkerError, NurseryProcess


class Reactor(Watcher):
    """Starts nothing."""

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__()
        self._error = error

    def spawnProcess(self, *_: Any, **__: Any) -> None:
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("end", "described"),
    [
        (ProcessTerminated(1, None, 256), "ended with status 1"),
        (ProcessTerminated(None, 9, 9), "was ended by SIGKILL"),
        (ProcessDone(0), "ended with status 0"),
    ],
)
def test_how_it_has_ended_is_said(end: Exception, described: str) -> None:
    nursery = NurseryProcess(Reactor(), "a_module")
    errors: list[Any] = []
    nursery.ready.addErrback(errors.append)
    nursery.fork({}, []).addErrback(errors.append)
    nursery.processEnded(failure_of(end))
    nursery.fork({}, []).addErrback(errors.append)
    expected = f"the process that forks workers has ended: it {described}"
    assert [str(error.value) for error in errors] == [expected] * 3
    assert nursery.ended.called


def test_a_reason_that_it_has_given_is_said_instead() -> None:
    nursery = NurseryProcess(Reactor(), "a_module")
    errors: list[Any] = []
    nursery.ready.addErrback(errors.append)
    nursery._on_message(Message({"failed": "half of it is missing"}))
    nursery.processEnded(failure_of(ProcessTerminated(1, None, 256)))
    assert [str(error.value) for error in errors] == ["the program cannot be loaded: half of it is missing"]


def test_one_that_cannot_be_started_leaves_nothing_open() -> None:
    reactor, before = Reactor(OSError(11, os.strerror(11))), open_descriptors()
    with pytest.raises(OSError, match="temporarily"):
        NurseryProcess(reactor, "a_module")
    assert (open_descriptors(), reactor.readers) == (before, set())


def test_a_worker_that_cannot_be_watched_is_reported() -> None:
    nursery = NurseryProcess(Reactor(), "a_module")
    errors: list[Any] = []
    nursery.fork({}, []).addErrback(errors.append)
    pid = os.fork()
    if not pid:
        signal.pause()
    descriptor = os.pidfd_open(pid)
    with no_descriptor_free():
        nursery._on_message(Message({"pid": pid}, (descriptor,)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    os.close(descriptor)
    (error,) = errors
    assert error.check(NoWorkerError)
    assert str(error.value).startswith("a worker cannot be watched: too many open files: raise the limit")
    nursery.close()
