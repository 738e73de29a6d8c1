"""``tcpbalance sessions``: the open sessions, and the end of one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands, positive_number
from tcpbalance.cli.pages import SHOWN, listed

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient
    from tcpbalance.cli.table import Cell, Paint

_FILTERS = {
    "client": ("NETWORK", "those of clients in this network, such as 203.0.113.0/24"),
    "frontend": ("NAME", "those of this frontend"),
    "pool": ("NAME", "those of this pool"),
    "backend": ("NAME", "those of this backend"),
    "min_age": ("TIME", "those that are at least so old, such as 10m"),
    "min_idle": ("TIME", "those without a byte for so long"),
    "min_bytes": ("SIZE", "those that have carried so much, such as 1MiB"),
}


def add_sessions(commands: Commands) -> None:
    """Add the command to a parser."""
    sessions = add_admin_command(commands, "sessions", "show the open sessions, the oldest first, or end one")
    for name, (metavar, text) in _FILTERS.items():
        sessions.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)
    sessions.add_argument(
        "--limit",
        metavar="NUMBER",
        type=positive_number,
        default=SHOWN,
        help=f"show so many at most ({SHOWN} by default)",
    )
    sessions.add_argument("--json", action="store_true", help="show them as JSON")
    sessions.add_argument("--end", metavar="ID", help="end this session")
    sessions.set_defaults(run=lambda arguments: _sessions(arguments, sessions))


def _sessions(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    filters = {name: getattr(arguments, name) for name in _FILTERS if getattr(arguments, name) is not None}
    if arguments.end is not None:
        if filters or arguments.json:
            parser.error("--end takes one session, and no other option")
        _end(client_of(arguments), arguments.end)
        return 0
    found, has_more = listed(client_of(arguments), "sessions", filters, arguments.limit)
    if arguments.json:
        import json

        print(json.dumps({"sessions": found, "more": has_more}))
        return 0
    from tcpbalance.cli.terminal import paint_of_output, show, table_width

    show(session_lines(found, table_width(), paint_of_output()))
    if has_more:
        print(f"There are more than {len(found)}; --limit shows more.", file=sys.stderr)
    return 0


def _end(client: AdminClient, session: str) -> None:
    from tcpbalance.cli.terminal import say
    from tcpbalance.config.messages import one_line

    ended = client.change("DELETE", "sessions", session)
    backend = f", backend {ended['pool']}/{ended['backend']}" if ended["backend"] else ""
    say(one_line(f"{ended['id']}: ended, client {ended['client']}, frontend {ended['frontend']}{backend}"))


def session_lines(found: Sequence[Mapping[str, Any]], width: int | None, paint: Paint) -> list[str]:
    """Draw the table."""
    from tcpbalance.cli.table import Column, table_lines

    columns = [
        Column("ID"),
        Column("CLIENT", shrinks_to=21),
        Column("FRONTEND", optional=4),
        Column("BACKEND", shrinks_to=12),
        Column("STATE", optional=5),
        Column("AGE", right=True),
        Column("IDLE", right=True, optional=1),
        Column("IN", right=True, optional=2),
        Column("OUT", right=True, optional=3),
        Column("SERVER NAME", optional=6, shrinks_to=11),
    ]
    return table_lines(columns, [_row(session) for session in found], width, paint)


def _row(session: Mapping[str, Any]) -> list[Cell]:
    from tcpbalance.cli.amounts import bytes_text, time_text
    from tcpbalance.cli.table import Cell

    backend = f"{session['pool']}/{session['backend']}" if session["backend"] else session["pool"] or "-"
    return [
        Cell(session["id"]),
        Cell(session["client"]),
        Cell(session["frontend"]),
        Cell(backend),
        Cell(session["state"]),
        Cell(time_text(session["age"])),
        Cell(time_text(session["idle"])),
        Cell(bytes_text(session["client_bytes"])),
        Cell(bytes_text(session["backend_bytes"])),
        Cell(session["server_name"] or ""),
    ]
