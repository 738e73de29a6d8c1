"""A parser of arguments, with a status of its own for those that make no sense."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn, TypeAlias

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


class CommandParser(argparse.ArgumentParser):
    """See above.

    :cvar misuse: the exit status then.
    """

    misuse = 2

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Argparse's call: that of a command refuses by itself what it does not know, with its own usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

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


def seconds_or_text(text: str) -> float | str:
    """Read a bare number as seconds, for argparse; the admin side reads everything else."""
    return float(text) if _NUMBER.fullmatch(text) else text


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
