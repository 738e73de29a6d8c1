"""``tcpbalance check`` and ``plan``: mistakes in configuration files, and what they change."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sized

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands
from tcpbalance.errors import TcpbalanceError


def add_check(commands: Commands) -> None:
    """Add the command to a parser."""
    check = commands.add_parser("check", help="check a file and report its mistakes", allow_abbrev=False)
    check.add_argument("file", metavar="FILE", help="the configuration file (TOML)")
    check.set_defaults(run=_check)


def add_plan(commands: Commands) -> None:
    """Add the command to a parser."""
    plan = add_admin_command(
        commands, "plan", "show what another file would change, or a reload of the balancer that runs"
    )
    plan.add_argument("running", metavar="RUNNING", nargs="?", help="the file that is in use")
    plan.add_argument("new", metavar="NEW", nargs="?", help="the file that is to replace it")
    plan.add_argument("--json", action="store_true", help="show the changes as JSON")
    plan.set_defaults(run=lambda arguments: _plan(arguments, plan))
    plan.misuse = 1


def _check(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.terminal import say
    from tcpbalance.config.errors import Problem, Severity
    from tcpbalance.config_reader import read_config

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
    say(f"{arguments.file}: ok, {counts}")
    return 0


def _plan(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if arguments.running is None:
        return _plan_of_reload(arguments)
    if arguments.new is None:
        parser.error("two files are compared, RUNNING and NEW; without both, the balancer that runs is asked")
    return _plan_of_files(arguments)


def _plan_of_reload(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.shown_plan import has_changes, show_plan

    answer = client_of(arguments).get("plan")
    show_plan(answer, as_json=arguments.json)
    return 2 if has_changes(answer["plan"]) else 0


def _plan_of_files(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.terminal import say
    from tcpbalance.config.difference import difference
    from tcpbalance.config.plan import plan_document, plan_lines
    from tcpbalance.config_reader import read_config

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
        say(*plan_lines(found))
    return 2 if found else 0


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
