"""The command line tool `tcpbalance`: what there is to do beside running the balancer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence, Sized
from importlib.metadata import PackageNotFoundError, version

from tcpbalance.build import check_config
from tcpbalance.config.errors import ConfigError, Problem, Severity


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments without the program's name; those of the process by default.
    :returns: the exit status: 0, or 1 when the command found something wrong.
    :raises SystemExit: with status 2 for arguments that make no sense, 0 after ``--help`` and ``--version``.
    """
    arguments = _parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tcpbalance", description="Tools for the TCP load balancer tcpbalance."
    )
    parser.add_argument("--version", action="version", version=f"tcpbalance {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser("check", help="check a configuration file and report its mistakes")
    check.add_argument("file", metavar="FILE", help="the configuration file")
    check.set_defaults(run=_check)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    problems: list[Problem] = []
    try:
        config = check_config(arguments.file, problems.append)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    if any(problem.severity is Severity.ERROR for problem in problems):
        return 1
    counts = f"{_count(config.frontends, 'frontend')}, {_count(config.pools, 'pool')}"
    print(f"{arguments.file}: ok, {counts}")
    return 0


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _version() -> str:
    try:
        return version("tcpbalance")
    except PackageNotFoundError:
        return "(not installed)"
