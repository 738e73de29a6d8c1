"""``tcpbalance log-level``: what the balancer that runs logs about itself."""

from __future__ import annotations

import argparse

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands

LEVELS = ("debug", "info", "warn", "error", "critical")


def add_log_level(commands: Commands) -> None:
    """Add the command to a parser."""
    level = add_admin_command(
        commands, "log-level", "show the level of the balancer's log, or set it until the next reload"
    )
    level.add_argument(
        "level", metavar="LEVEL", nargs="?", choices=LEVELS, help=f"one of {', '.join(LEVELS)}"
    )
    level.set_defaults(run=_log_level)


def _log_level(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    if arguments.level is None:
        print(client.get("log")["level"])
        return 0
    answer = client.change("PATCH", "log", content={"level": arguments.level})
    print(f"{answer['level']} ({answer['lasts']})")
    return 0
