"""A program in a real terminal: tmux, with a server of its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.process import finish, run
from support.programs import require
from support.waiting import until


class Terminal:
    """One window; see ``terminal``."""

    def __init__(self, socket: Path) -> None:
        (tmux,) = require("tmux")
        self._tmux = [tmux, "-S", str(socket), "-f", "/dev/null"]

    def start(self, command: Sequence[str | Path], width: int, height: int, env: Mapping[str, str]) -> None:
        """Start a program; when it has ended, the window has its exit status."""
        words = shlex.join(str(part) for part in command)
        variables = [part for name, value in env.items() for part in ("-e", f"{name}={value}")]
        size = ["-x", str(width), "-y", str(height)]
        run([*self._tmux, "new-session", "-d", *size, *variables, f"{words}; echo ended with $?; sleep 60"])

    def screen(self, *, colours: bool = False, joined: bool = False) -> list[str]:
        """Give the lines that are shown, without the empty ones at the end.

        :param colours: whether escape sequences are among them.
        :param joined: whether lines that the terminal has broken are as they were written.
        """
        options = [*(["-e"] if colours else []), *(["-J"] if joined else [])]
        shown = run([*self._tmux, "capture-pane", "-p", *options])
        return shown.rstrip().split("\n")

    def wait_for(self, text: str, seconds: float = 20.0) -> list[str]:
        """Wait until a text is shown; give all that is shown then."""
        until(lambda: text in "\n".join(self.screen()), lambda: f"{text!r} in {self.screen()}", seconds)
        return self.screen()

    def press(self, *keys: str) -> None:
        """Press keys, by their names in tmux."""
        run([*self._tmux, "send-keys", *keys])

    def type(self, text: str) -> None:
        """Type a text."""
        run([*self._tmux, "send-keys", "-l", text])

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        run([*self._tmux, "resize-window", "-x", str(width), "-y", str(height)])

    def end(self) -> None:
        """End the program and the server."""
        finish([*self._tmux, "kill-server"])


@contextmanager
def terminal(
    command: Sequence[str | Path], socket: Path, width: int, height: int = 24, env: Mapping[str, str] = {}
) -> Iterator[Terminal]:
    """Run a program in a terminal.

    :param socket: a path where tmux may have its socket.
    :param env: variables on top of our own.
    """
    window = Terminal(socket)
    try:
        window.start(command, width, height, env)
        yield window
    finally:
        window.end()
