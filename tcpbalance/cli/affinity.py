"""``tcpbalance affinity``: which clients pools remember; some are forgotten."""

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
    from tcpbalance.cli.table import Paint

_SELECTS = ("pool", "client", "backend")


def add_affinity(commands: Commands) -> None:
    """Add the command to a parser."""
    affinity = add_admin_command(
        commands, "affinity", "show the clients that pools with affinity remember, or have some forgotten"
    )
    affinity.add_argument("--pool", metavar="NAME", help="those of this pool")
    affinity.add_argument("--client", metavar="ADDRESS", help="this client, or those of this network")
    affinity.add_argument("--backend", metavar="NAME", help="those of this backend")
    affinity.add_argument(
        "--limit", metavar="NUMBER", type=positive_number, help=f"show so many at most ({SHOWN} by default)"
    )
    affinity.add_argument("--json", action="store_true", help="show them as JSON")
    affinity.add_argument(
        "--forget",
        action="store_true",
        help="forget those that --pool, --client and --backend select; at least one of these is needed",
    )
    affinity.set_defaults(run=lambda arguments: _affinity(arguments, affinity))


def _affinity(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    filters = {name: getattr(arguments, name) for name in _SELECTS if getattr(arguments, name) is not None}
    if arguments.forget:
        if not filters or arguments.json or arguments.limit is not None:
            parser.error("--forget takes --pool, --client and --backend, at least one, and no other option")
        _forget(client_of(arguments), filters)
        return 0
    found, has_more = listed(client_of(arguments), "affinity", filters, arguments.limit or SHOWN)
    if arguments.json:
        import json

        print(json.dumps({"affinity": found, "more": has_more}))
        return 0
    from tcpbalance.cli.terminal import paint_of_output, show, table_width

    show(affinity_lines(found, table_width(), paint_of_output()))
    if has_more:
        print(f"There are more than {len(found)}; --limit shows more.", file=sys.stderr)
    return 0


def _forget(client: AdminClient, filters: Mapping[str, Any]) -> None:
    answer = client.change("DELETE", "affinity", **filters)
    count, unanswered = answer["forgotten"], answer["unanswered"]
    print(f"{count} {'client is' if count == 1 else 'clients are'} forgotten")
    for place in unanswered:
        print(f"Worker {place} has not answered: it forgets when it goes on.", file=sys.stderr)


def affinity_lines(found: Sequence[Mapping[str, Any]], width: int | None, paint: Paint) -> list[str]:
    """Draw the table."""
    from tcpbalance.cli.amounts import time_text
    from tcpbalance.cli.table import Cell, Column, table_lines

    columns = [
        Column("CLIENT"),
        Column("POOL", shrinks_to=12),
        Column("BACKEND", shrinks_to=12),
        Column("NOW AT", optional=1, shrinks_to=12),
        Column("REMEMBERED FOR", right=True),
    ]
    rows = [
        [
            Cell(entry["client"]),
            Cell(entry["pool"]),
            Cell(entry["backend"]),
            Cell(_now_at(entry)),
            Cell("connected" if entry["seconds"] is None else time_text(entry["seconds"])),
        ]
        for entry in found
    ]
    return table_lines(columns, rows, width, paint)


def _now_at(entry: Mapping[str, Any]) -> str:
    """Give the backend that serves a client now; empty where none does."""
    serving = [its["backend"] for its in (entry, entry["fallback"]) if its is not None and its["connected"]]
    return ", ".join(serving)
