"""A parser of arguments, with a status of its own for those that make no sense."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn, TypeAlias


class CommandParser(argparse.ArgumentParser):
    """See above.

    :cvar misuse: the exit status then.
    """

    misuse = 2

    def error(self, message: str) -> NoReturn:
        """Argparse's call: the arguments make no sense."""
        self.print_usage(sys.stderr)
        self.exit(self.misuse, f"{self.prog}: error: {message}\n")


Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"
"""Takes the parsers of the commands."""


def positive_number(text: str) -> int:
    """Read a number, for argparse.

    :raises argparse.ArgumentTypeError: it is none.
    """
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, got {text!r}")
    return int(text)


def positive_seconds(text: str) -> float:
    """Read a time in seconds, for argparse.

    :raises argparse.ArgumentTypeError: it is none.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"must be seconds, 0.1 to 86400, got {text!r}")
    return seconds
