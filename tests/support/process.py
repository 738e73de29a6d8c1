"""A program running in the foreground as our child, which ends before the test does, whatever happens."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from support.forker import Forker

_END_WITHIN = 10.0

_INTERRUPTIBLE = ("env", "--default-signal=INT", "--")
"""A shell's job in the background ignores SIGINT, and so would all that a test run in it starts."""


class _Child(Protocol):
    """What a process has of ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def kill(self) -> None: ...


class Process:
    """One child process, its output in a file.

    :param command: the program and its arguments.
    :param folder: its working folder.
    :param log: where its standard output and error go, appended.
    :param user: as whom it runs, when we are root; None for ourselves.
    :param lacks: capabilities that it is not to have when we are root, such as "net_bind_service".
    :param stdout: a descriptor for its standard output alone.
    :param environment: variables on top of our own.
    :param forker: forks it, as ourselves and with all that we may; None to run its program.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        log: Path,
        *,
        user: str | None = None,
        lacks: Sequence[str] = (),
        stdout: int | None = None,
        environment: Mapping[str, str] | None = None,
        forker: Forker | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.log_file = log
        self._child: _Child
        variables = {**os.environ, **(environment or {})}
        with log.open("ab") as file:
            output = file.fileno() if stdout is None else stdout
            if forker is not None:
                self._child = forker.fork(self.command, folder, {1: output, 2: file.fileno()}, variables)
                return
            self._child = subprocess.Popen(
                [*_INTERRUPTIBLE, *_bound_to_us(lacks), *self.command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=file,
                env=variables,
                **_credentials(user),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self.log_file.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._child.send_signal(number)

    def wait(self, seconds: float = _END_WITHIN) -> int:
        """Wait for its end.

        :returns: the exit status, negative for a signal.
        :raises AssertionError: when it does not end in time.
        """
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            what = f"still running after {seconds:g} s: {self.command}\n{self.output}"
            raise AssertionError(what) from None

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = _END_WITHIN) -> int:
        """Send it a signal and wait for its end.

        :returns: the exit status, negative for a signal.
        """
        self.send(number)
        return self.wait(seconds)

    def end(self) -> None:
        """End it, kindly first; nothing when it has ended."""
        if self.exit_code is not None:
            return
        try:
            self.stop()
        except AssertionError:
            self._child.kill()
            self._child.wait()
            raise


def children() -> set[str]:
    """The processes that this one has started and not reaped: what forks others for the tests may be one."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def has_ended(pid: int) -> bool:
    """Whether a process that is not our child has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def run(command: Sequence[str | Path], seconds: float = 60.0, user: str | None = None, **options: Any) -> str:
    """Run a program to its end.

    :param user: as whom it runs, when we are root.
    :param options: for `subprocess.run`, such as `input`, `env` and `cwd`.
    :returns: what it printed on standard output.
    :raises AssertionError: with all that it printed when it fails or takes too long.
    """
    done = finish(command, seconds, **_credentials(user), **options)
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def finish(
    command: Sequence[str | Path], seconds: float = 60.0, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, well or not.

    :raises AssertionError: with all that it printed when it takes too long.
    """
    parts = [str(part) for part in command]
    try:
        return subprocess.run(parts, capture_output=True, text=True, timeout=seconds, check=False, **options)
    except subprocess.TimeoutExpired as error:
        what = f"{parts}: not done within {seconds:g} s\n{error.stdout!r}\n{error.stderr!r}"
        raise AssertionError(what) from None


@contextmanager
def forking(*modules: str) -> Iterator[Forker]:
    """Run what starts programs by forks.

    :param modules: what these import.
    """
    forker = Forker([*_INTERRUPTIBLE, *_bound_to_us()], modules)
    try:
        yield forker
    finally:
        forker.close()


@contextmanager
def folder_of(user: str | None = None) -> Iterator[Path]:
    """Make a temporary folder that `user` can reach and owns; pytest's own are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="tcpbalance-test-"))
    try:
        if user is not None and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _bound_to_us(lacks: Sequence[str] = ()) -> list[str]:
    """Even when the test run is killed, nothing of it goes on."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        assert not lacks, "not installed: setpriv"
        return []
    less = [f"--bounding-set={','.join(f'-{name}' for name in lacks)}"] if lacks and os.geteuid() == 0 else []
    return [setpriv, "--pdeathsig", "KILL", *less, "--"]


def _credentials(user: str | None) -> dict[str, Any]:
    if user is None or os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
