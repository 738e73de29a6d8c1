"""What the parser knows of the commands, for the manual and for the shells."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from tcpbalance.cli.parser import parser_of

FILE_METAVARS = ("FILE", "RUNNING", "NEW", "CERT", "URL|SOCKET")
"""Arguments that are files, or may be."""


class DescribedArgument(NamedTuple):
    """An option, or an argument without one.

    :ivar flags: such as ``-h`` and ``--help``; empty for one without.
    :ivar values: names of the values that it takes.
    :ivar optional: whether its value may be left out.
    :ivar help: a sentence.
    :ivar words: that it may be; empty for any.
    :ivar group: the heading that it stands under.
    """

    flags: tuple[str, ...]
    values: tuple[str, ...]
    optional: bool
    help: str
    words: tuple[str, ...] = ()
    group: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it takes the name of a file."""
        return any(value in FILE_METAVARS for value in self.values)


class DescribedCommand(NamedTuple):
    """One command.

    :ivar help: a sentence.
    :ivar arguments: in the order of the help.
    """

    name: str
    help: str
    arguments: tuple[DescribedArgument, ...]

    @property
    def options(self) -> list[DescribedArgument]:
        """Those with flags."""
        return [argument for argument in self.arguments if argument.flags]

    @property
    def operands(self) -> list[DescribedArgument]:
        """Those without."""
        return [argument for argument in self.arguments if not argument.flags]


def described_program() -> tuple[DescribedCommand, list[DescribedCommand]]:
    """Describe the program, with its own options, and its commands."""
    parser = parser_of()
    (added,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    helps = {choice.dest: choice.help or "" for choice in added._choices_actions}
    program = DescribedCommand("tcpbalance", parser.description or "", tuple(_arguments(parser)))
    commands = [
        DescribedCommand(name, helps[name], tuple(_arguments(command)))
        for name, command in added.choices.items()
    ]
    return program, commands


def _arguments(parser: argparse.ArgumentParser) -> Iterator[DescribedArgument]:
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            yield DescribedArgument(
                tuple(action.option_strings),
                _values(action),
                action.nargs in ("?", "*"),
                (action.help or "") % {"prog": parser.prog, "default": action.default},
                tuple(map(str, action.choices or ())),
                _group(parser, action),
            )


def _group(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    groups = [group.title for group in parser._action_groups if action in group._group_actions]
    return next(iter(filter(None, groups)), "")


def _values(action: argparse.Action) -> tuple[str, ...]:
    if action.nargs == 0:
        return ()
    if isinstance(action.metavar, tuple):
        return action.metavar
    return (action.metavar or action.dest.upper(),)
