"""The nursery forks workers that are nobody's children there, and says how it goes."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.descriptors import open_descriptors
from support.orphans import adopting_orphans
from tcpbalance.workers import messages, nursery
from tcpbalance.workers.messages import Message

WAIT = 20.0

NURSERY = [sys.executable, "-m", "tcpbalance.workers.nursery"]

MODULE = """\
import os
import random
import sys

drawn = random.random()

def main(request):
    how = request.content["how"]
    if how == "say":
        (descriptor,) = request.descriptors
        os.write(descriptor, f"{os.getpid()} {random.random()}".encode())
    elif how == "raise":
        raise ValueError("worker trouble")
    elif how == "exit":
        raise SystemExit(request.content["status"])
    elif how == "hang":
        signal.pause()
    elif how == "imported":
        (descriptor,) = request.descriptors
        os.write(descriptor, b"another" if "another" in sys.modules else b"")
"""


@pytest.fixture(autouse=True)
def _adopt_orphans() -> Iterator[None]:
    """As the supervisor does."""
    with adopting_orphans():
        yield


@contextmanager
def running(folder: Path) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    (folder / "a_worker.py").write_text(MODULE.replace("import os", "import os\nimport signal", 1))
    ours, theirs = messages.pair()
    with ours:
        ours.settimeout(WAIT)
        with theirs:
            environment = {**os.environ, "PYTHONPATH": str(folder)}
            command = [*NURSERY, str(theirs.fileno()), "a_worker"]
            process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stderr=subprocess.PIPE
            )
        with process:
            assert messages.receive(ours) == Message({"ready": True})
            yield ours, process
            ours.close()
            assert process.wait(WAIT) == 0


def forked(
    sock: socket.socket, content: dict[str, Any], descriptors: tuple[int, ...] = ()
) -> tuple[int, int]:
    """Have a worker forked.

    :returns: its process id, and the descriptor of the process.
    """
    messages.send(sock, content, descriptors)
    answer = messages.receive(sock)
    assert answer is not None
    (process,) = answer.descriptors
    return answer.content["pid"], process


def status_of(process: int) -> int:
    """Wait for the end of a worker, as its parent alone can.

    :returns: its status, or the negative number of a signal.
    """
    assert select.select([process], [], [], WAIT)[0]
    ended = os.waitid(os.P_PIDFD, process, os.WEXITED)
    os.close(process)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def test_workers_are_our_children_with_what_was_imported_and_chance_of_their_own(tmp_path: Path) -> None:
    before = open_descriptors()
    with running(tmp_path) as (sock, _):
        said = []
        for _ in range(3):
            reader, writer = os.pipe()
            pid, descriptor = forked(sock, {"how": "say"}, (writer,))
            os.close(writer)
            said.append(os.read(reader, 1000).split())
            os.close(reader)
            assert int(said[-1][0]) == pid
            assert status_of(descriptor) == 0
        assert len({drawn for _, drawn in said}) == 3
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"how": "raise"}, 70),
        ({"how": "exit", "status": 3}, 3),
        ({"how": "exit", "status": "a text"}, 1),
        ({"how": "exit", "status": None}, 0),
        ({"how": "nothing"}, 0),
    ],
    ids=["an exception", "a status", "a text", "no status", "a return"],
)
def test_how_a_worker_ends_is_its_status(tmp_path: Path, content: dict[str, Any], status: int) -> None:
    with running(tmp_path) as (sock, process):
        for asked, expected in ((content, status), ({"how": "nothing"}, 0)):
            _, descriptor = forked(sock, asked)
            assert status_of(descriptor) == expected
        sock.close()
        assert process.stderr is not None
        traceback = process.stderr.read()
    assert (b"ValueError: worker trouble" in traceback) == (status == 70)


def test_it_ends_with_its_socket_alone_and_workers_go_on(tmp_path: Path) -> None:
    with running(tmp_path) as (sock, process):
        pid, worker = forked(sock, {"how": "hang"})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
            os.kill(pid, number)
        _, other = forked(sock, {"how": "nothing"})
        assert status_of(other) == 0
    assert not select.select([worker], [], [], 0)[0]
    os.kill(pid, signal.SIGKILL)
    assert status_of(worker) == -signal.SIGKILL


def test_what_a_worker_is_to_import_is_imported_before_it_is_forked(tmp_path: Path) -> None:
    (tmp_path / "another.py").write_text("")
    with running(tmp_path) as (sock, _):
        answers = []
        # The second one shares what was imported for the first, and asks for nothing.
        for asked in ({"imports": ["another"]}, {}):
            reader, writer = os.pipe()
            with os.fdopen(reader, "rb") as answer:
                _, process = forked(sock, {"how": "imported", **asked}, (writer,))
                os.close(writer)
                answers.append(answer.read())
                assert status_of(process) == 0
        assert answers == [b"another", b"another"]


def test_what_cannot_be_imported_is_an_answer_and_the_nursery_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as (sock, _):
        messages.send(sock, {"how": "exit", "imports": ["no_such_module"]})
        answer = messages.receive(sock)
        assert answer is not None
        assert answer.content == {"error": "ModuleNotFoundError: No module named 'no_such_module'"}
        _, process = forked(sock, {"how": "exit", "status": 0})
        assert status_of(process) == 0


def test_a_fork_that_fails_is_an_answer_and_the_next_may_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = messages.pair()
    with ours, theirs:
        messages.send(ours, {})
        request = messages.receive(theirs)
        assert request is not None
        with monkeypatch.context() as patched:
            patched.setattr(os, "fork", lambda: (_ for _ in ()).throw(OSError(11, os.strerror(11))))
            nursery.answer(theirs, request, lambda _: None)
        assert messages.receive(ours) == Message({"error": os.strerror(11)})
        nursery.answer(theirs, request, lambda _: None)
        answer = messages.receive(ours)
        assert answer is not None
        assert status_of(answer.descriptors[0]) == 0


def test_a_second_fork_that_fails_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = messages.pair()
    fork, forks = os.fork, []

    def first_only() -> int:
        forks.append(1)
        if len(forks) > 1:
            raise OSError(12, "no memory")
        return fork()

    with ours, theirs:
        monkeypatch.setattr(os, "fork", first_only)
        nursery.answer(theirs, Message({}), lambda _: None)
        assert messages.receive(ours) == Message({"error": os.strerror(12)})


def test_a_worker_that_could_not_be_watched_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = messages.pair()
    pids: list[int] = []

    def no_descriptor(pid: int) -> int:
        pids.append(pid)
        raise OSError(24, os.strerror(24))

    with ours, theirs, monkeypatch.context() as patched:
        patched.setattr(os, "pidfd_open", no_descriptor)
        nursery.answer(theirs, Message({}), lambda _: signal.pause())
        assert messages.receive(ours) == Message({"error": os.strerror(24)})
    (pid,) = pids
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
