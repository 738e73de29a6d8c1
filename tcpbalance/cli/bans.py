"""``tcpbalance bans``: the clients and networks that are banned; further ones, and fewer."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands, positive_number, seconds_or_text
from tcpbalance.cli.pages import SHOWN

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient
    from tcpbalance.cli.table import Paint


def add_bans(commands: Commands) -> None:
    """Add the command to a parser."""
    bans = add_admin_command(
        commands, "bans", "show what clients and networks are banned, ban one or lift a ban"
    )
    bans.add_argument("--frontend", metavar="NAME", help="only those of this frontend")
    bans.add_argument("--client", metavar="NETWORK", help="only clients in this network")
    bans.add_argument(
        "--by", choices=("operator", "limits"), help="only those by operators, or by the limits of frontends"
    )
    bans.add_argument(
        "--limit",
        metavar="NUMBER",
        type=positive_number,
        help=f"show so many at most ({SHOWN} by default)",
    )
    bans.add_argument("--json", action="store_true", help="show them as JSON")
    bans.add_argument(
        "--add", metavar="CLIENT", help="ban this client or network, at --frontend or at all; needs --for"
    )
    bans.add_argument(
        "--for",
        metavar="TIME",
        dest="time",
        type=seconds_or_text,
        help="for how long it is banned, such as 10m, or seconds",
    )
    bans.add_argument(
        "--replace",
        action="store_true",
        help="with --add, in the place of an earlier ban by an operator; else the later end counts",
    )
    bans.add_argument("--lift", metavar="CLIENT", help="lift this ban, at --frontend or at all")
    bans.set_defaults(run=lambda arguments: _bans(arguments, bans))


def _bans(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if arguments.add is not None:
        if arguments.time is None or _selects(arguments) or arguments.lift or arguments.by:
            parser.error("--add needs --for and takes --frontend and --replace, and no other option")
        _add(client_of(arguments), arguments)
    elif arguments.time is not None or arguments.replace:
        parser.error("--for and --replace belong to --add")
    elif arguments.lift is not None:
        if _selects(arguments):
            parser.error("--lift takes --frontend and --by, and no other option")
        _lift(client_of(arguments), arguments)
    else:
        _show(client_of(arguments), arguments)
    return 0


def _selects(arguments: argparse.Namespace) -> bool:
    return arguments.client is not None or arguments.limit is not None or arguments.json


def _add(client: AdminClient, arguments: argparse.Namespace) -> None:
    wanted = {
        "frontend": arguments.frontend,
        "client": arguments.add,
        "for": arguments.time,
        "replace": arguments.replace,
    }
    from tcpbalance.cli.terminal import say

    ban = client.change("POST", "bans", content=wanted)
    ends: dict[str, list[str]] = {}
    for its in ban["bans"]:
        ends.setdefault(its["until"], []).append(its["frontend"])
    for until, frontends in ends.items():
        say(f"{ban['client']}: banned at {', '.join(frontends)} until {until}")


def _lift(client: AdminClient, arguments: argparse.Namespace) -> None:
    from tcpbalance.cli.terminal import say

    lifted = client.change("DELETE", "bans", arguments.lift, frontend=arguments.frontend, by=arguments.by)
    say(f"{lifted['client']}: no longer banned at {', '.join(lifted['frontends'])}")


def _show(client: AdminClient, arguments: argparse.Namespace) -> None:
    import sys

    from tcpbalance.cli.terminal import paint_of_output, show, table_width

    limit = arguments.limit or SHOWN
    answer = client.get(
        "bans", frontend=arguments.frontend, client=arguments.client, by=arguments.by, limit=limit
    )
    if arguments.json:
        import json

        print(json.dumps(answer))
        return
    show(ban_lines(answer["bans"], table_width(), paint_of_output()))
    if answer["total"] > len(answer["bans"]):
        print(f"{len(answer['bans'])} of {answer['total']}; --limit shows more.", file=sys.stderr)


def ban_lines(bans: Sequence[Mapping[str, Any]], width: int | None, paint: Paint) -> list[str]:
    """Draw the table."""
    from tcpbalance.cli.amounts import time_text
    from tcpbalance.cli.table import Cell, Column, table_lines

    columns = [
        Column("CLIENT"),
        Column("FRONTEND", shrinks_to=12),
        Column("BY", optional=2),
        Column("LEFT", right=True),
        Column("UNTIL", optional=1),
    ]
    rows = [
        [
            Cell(ban["client"]),
            Cell(ban["frontend"]),
            Cell(ban.get("by", "")),
            Cell(time_text(ban["seconds"])),
            Cell(ban["until"]),
        ]
        for ban in bans
    ]
    return table_lines(columns, rows, width, paint)
