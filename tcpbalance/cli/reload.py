"""``tcpbalance reload``: the balancer that runs reads its configuration file again."""

from __future__ import annotations

import argparse

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands


def add_reload(commands: Commands) -> None:
    """Add the command to a parser."""
    reload = add_admin_command(
        commands, "reload", "have the balancer read its configuration file again, and show what has changed"
    )
    reload.add_argument("--json", action="store_true", help="show the changes as JSON")
    reload.set_defaults(run=_reload)


def _reload(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.shown_plan import show_plan

    show_plan(client_of(arguments).change("POST", "reload"), as_json=arguments.json)
    return 0
