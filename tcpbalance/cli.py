"""The command ``tcpbalance``: run the balancer, or look at its configuration.

It imports next to nothing: ``run`` holds signals back first, and what the balancer is made of takes longer to
import than Python takes to start.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import NoReturn

from tcpbalance import held_signals
from tcpbalance.errors import TcpbalanceError

_OPTIONS = ("-h", "--help", "-V", "--version")
_COMMANDS = ("run", "check", "plan")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments without the program's name; those of the process by default.
    :returns: the exit status: 0, or 1 when the command found something wrong; 2 when ``plan`` found changes.
    :raises SystemExit: with status 2 for arguments that make no sense, with 1 for those of ``plan``; 0 after
        ``--help`` and ``--version``.
    """
    words = sys.argv[1:] if argv is None else argv
    parser = _parser()
    if words:
        _explain(words[0], parser)
    arguments = parser.parse_args(words)
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tcpbalance",
        description="A TCP reverse proxy and load balancer.",
        epilog="tcpbalance COMMAND --help shows the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run the balancer in the foreground", allow_abbrev=False)
    run.add_argument("-r", "--reactor", metavar="NAME", help="Twisted's reactor; epoll by default on Linux")
    run.set_defaults(run=_run)
    check = commands.add_parser("check", help="check a file and report its mistakes", allow_abbrev=False)
    check.set_defaults(run=_check)
    for command in (run, check):
        command.add_argument("file", metavar="FILE", help="the configuration file (TOML)")
    plan = commands.add_parser("plan", help="show what another file would change", allow_abbrev=False)
    plan.add_argument("running", metavar="RUNNING", help="the file that is in use")
    plan.add_argument("new", metavar="NEW", help="the file that is to replace it")
    plan.add_argument("--json", action="store_true", help="show the changes as JSON")
    plan.set_defaults(run=_plan)
    plan.misuse = 1
    return parser


class _Parser(argparse.ArgumentParser):
    """Ends with a status of its own for arguments that make no sense."""

    misuse = 2

    def error(self, message: str) -> NoReturn:
        """Argparse's call: the arguments make no sense."""
        self.print_usage(sys.stderr)
        self.exit(self.misuse, f"{self.prog}: error: {message}\n")


class _ShowVersion(argparse.Action):
    """Reads the version only when it is asked for: that takes longer than the rest of this module."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"tcpbalance {_version()}")
        parser.exit()


def _explain(word: str, parser: argparse.ArgumentParser) -> None:
    """End with a better answer than argparse's when the first word is no command of ours."""
    if word in _COMMANDS or word in _OPTIONS:
        return
    if word.startswith("-"):
        parser.error(f"unknown option {word}; a command comes first, such as: tcpbalance run FILE")
    if Path(word).is_file():
        parser.error(f"a command is missing, such as: tcpbalance run {word}")
    from tcpbalance.config.messages import guess, quoted

    parser.error(f"unknown command {quoted(word)}, {guess(word, _COMMANDS, 'commands are')}")


def _run(arguments: argparse.Namespace) -> int:
    # Until our own handlers are there, a signal would end the process and leave its socket files.
    held_signals.hold()
    from tcpbalance.environment import take_variables

    variables = take_variables(os.environ)
    if arguments.reactor is not None:
        _install_reactor(arguments.reactor)
    from twisted.internet import reactor

    from tcpbalance.daemon import build_or_exit
    from tcpbalance.foreground import run

    service = build_or_exit(reactor, arguments.file, variables)
    run(reactor, service, _version(), sys.stderr)
    return 0


def _install_reactor(name: str) -> None:
    """Choose the reactor, before the first import of it.

    :raises SystemExit: there is no such reactor, or it cannot be used here.
    """
    from twisted.application.reactors import NoSuchReactor, getReactorTypes, installReactor

    try:
        installReactor(name)
    except NoSuchReactor:
        from tcpbalance.config.messages import must_be_one_of

        names = sorted({kind.shortName for kind in getReactorTypes()})
        sys.exit(f"tcpbalance run: --reactor {must_be_one_of(name, names)}")
    except Exception as error:  # it is an extension, and may need what is not installed
        sys.exit(f"tcpbalance run: --reactor {name}: cannot be used: {error}")


def _check(arguments: argparse.Namespace) -> int:
    from tcpbalance.build import read_config
    from tcpbalance.config.errors import Problem, Severity

    problems: list[Problem] = []
    try:
        config = read_config(arguments.file, problems.append, thorough=True)
    except TcpbalanceError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    if any(problem.severity is Severity.ERROR for problem in problems):
        return 1
    counts = f"{_count(config.frontends, 'frontend')}, {_count(config.pools, 'pool')}"
    print(f"{arguments.file}: ok, {counts}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from tcpbalance.build import read_config
    from tcpbalance.config.difference import difference
    from tcpbalance.config.plan import plan_document, plan_lines

    def report(problem: object) -> None:
        print(problem, file=sys.stderr)

    try:
        found = difference(read_config(arguments.running, report), read_config(arguments.new, report))
    except TcpbalanceError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        import json

        print(json.dumps(plan_document(found), indent=2))
    else:
        print("\n".join(plan_lines(found)))
    return 2 if found else 0


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tcpbalance")
    except PackageNotFoundError:
        return "(not installed)"
