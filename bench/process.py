"""Programs that run as our children, each ended by its own id, whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import Failed, last_lines
from bench.waiting import until

TREE = Path(__file__).parents[1]
"""Where `python -m bench...` finds us."""

_END_WITHIN = 5.0


class Child:
    """One program from `with` to its end.

    :param command: the program and its arguments.
    :param output: the file where its standard output and error go.
    :param folder: its working folder.
    :param environment: what it has there besides ours.
    """

    def __init__(
        self, command: Sequence[str], output: Path, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                bound_to_us(command),
                bufsize=0,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
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
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self._output.read_text(errors="replace")

    def check(self) -> None:
        """Make sure that it runs.

        :raises Failed: when it has ended, with the last that it said.
        """
        ending = self.ending()
        if ending:
            raise Failed(ending)

    def ending(self) -> str:
        """Give how it has ended by itself, with the last that it said; empty while it runs."""
        status = self._process.poll()
        return "" if status is None else f"ended with status {status}: {last_lines(self.output, 3)}"

    def wait_for(self, word: str, seconds: float) -> list[str]:
        """Wait until it prints a line that begins with `word`.

        :returns: the other words of the line.
        :raises Failed: when it ends before, or takes longer than `seconds`.
        """
        found: list[list[str]] = []

        def said() -> bool:
            # Before reading: what it said last must not be missed because it ended in between.
            ended = self._process.poll() is not None
            lines = [line.split() for line in self.output.splitlines(keepends=True) if line.endswith("\n")]
            found.extend(words[1:] for words in lines if words[:1] == [word])
            if ended and not found:
                self.check()
            return bool(found)

        until(said, f"{word!r} of a client", seconds)
        return found[0]

    def tell(self, word: str) -> None:
        """Give it a line to read.

        :raises Failed: when it does not read any more.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word}\n".encode())
        except BrokenPipeError:
            self.check()
            raise Failed("it does not listen any more") from None

    def end(self) -> None:
        """End it, kindly first; nothing when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end.

    :param environment: what it has there besides ours.
    :returns: what it printed on standard output and standard error.
    :raises Failed: when it fails or takes longer than `seconds`.
    """
    try:
        done = subprocess.run(
            bound_to_us(command),
            cwd=TREE,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]}: not done within {seconds:g} s") from None
    if done.returncode != 0:
        raise Failed(f"{command[0]}: status {done.returncode}: {last_lines(done.stdout)}")
    return done.stdout


def bound_to_us(command: Sequence[str]) -> list[str]:
    """Let the kernel end the program when we are killed and can no longer do it."""
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []), *command]
