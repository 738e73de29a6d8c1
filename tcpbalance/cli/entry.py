"""What the process of a command begins with: the arguments, the command, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tcpbalance.cli.command_error import CommandError
from tcpbalance.cli.parser import COMMANDS, parser_of

INTERRUPTED = 130
"""Exit status after Ctrl-C: as a shell has it for a program that the signal has ended."""

PIPE_CLOSED = 141
"""Exit status when what reads the output reads no more; likewise."""

_OPTIONS = ("-h", "--help", "-V", "--version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments without the program's name; those of the process by default.
    :returns: the exit status; see the reference of the command line.
    :raises SystemExit: with status 2 for arguments that make no sense, with 1 for those of ``plan``; 0 after
        ``--help`` and ``--version``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(words)
        # Here, and not when Python ends, where a closed pipe is a traceback.
        sys.stdout.flush()
    except CommandError as error:
        print(f"tcpbalance {words[0]}: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    return status


def _run(words: list[str]) -> int:
    chosen = words[0] if words and words[0] in COMMANDS else None
    parser = parser_of(COMMANDS if chosen is None else [chosen])
    if words and chosen is None:
        _explain(words[0], parser)
    arguments = parser.parse_args(words)
    status: int = arguments.run(arguments)
    return status


def _explain(word: str, parser: argparse.ArgumentParser) -> None:
    """End with a better answer than argparse's when the first word is no command of ours."""
    if word in _OPTIONS:
        return
    if word.startswith("-"):
        parser.error(f"unknown option {word}; a command comes first, such as: tcpbalance run FILE")
    if Path(word).is_file():
        parser.error(f"a command is missing, such as: tcpbalance run {word}")
    from tcpbalance.config.messages import guess, quoted

    parser.error(f"unknown command {quoted(word)}, {guess(word, COMMANDS, 'commands are')}")


def _discard_output() -> None:
    """Let Python flush what is left to nowhere when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
