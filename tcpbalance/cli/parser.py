"""The arguments: of all commands, or only of the one that is used."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from importlib import import_module

from tcpbalance.cli.command_parser import CommandParser
from tcpbalance.cli.version import installed_version

COMMANDS = {
    "run": "run",
    "check": "files",
    "plan": "files",
    "status": "status",
    "top": "top",
    "sessions": "sessions",
    "health": "health",
    "explain": "explain",
    "bans": "bans",
    "affinity": "affinity",
    "debug-clients": "debug_clients",
    "events": "events",
    "reload": "reload",
    "drain": "backends",
    "ready": "backends",
    "maintenance": "backends",
    "weight": "backends",
    "log-level": "log_level",
    "init": "init",
    "completion": "completion",
    "man": "manual",
}
"""The commands in the order of the help, and the module that has each: ``add_NAME(commands)``, with ``_`` in
the place of ``-``."""


def parser_of(commands: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """Make the parser.

    :param commands: that it is to know.
    """
    parser = CommandParser(
        prog="tcpbalance",
        description="A TCP reverse proxy and load balancer.",
        epilog="tcpbalance COMMAND --help shows the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        module = import_module(f"tcpbalance.cli.{COMMANDS[name]}")
        getattr(module, f"add_{name.replace('-', '_')}")(added)
    return parser


class _ShowVersion(argparse.Action):
    """Reads the version only when it is asked for: that takes longer than the rest of this module."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"tcpbalance {installed_version()}")
        parser.exit()
