"""``tcpbalance health``: the last results of the health checks of a backend."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands

if TYPE_CHECKING:
    from tcpbalance.cli.table import Paint


def add_health(commands: Commands) -> None:
    """Add the command to a parser."""
    health = add_admin_command(
        commands, "health", "show the last results of the health checks of a backend, the latest first"
    )
    health.add_argument(
        "backend", metavar="[POOL/]BACKEND", help="its name, with that of its pool where several have it"
    )
    health.add_argument("--json", action="store_true", help="show them as JSON")
    health.set_defaults(run=_health)


def _health(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.backend_names import find_named
    from tcpbalance.cli.terminal import paint_of_output, say, show, table_width

    client = client_of(arguments)
    named = find_named(client.get("pools", counters="false")["pools"], arguments.backend)
    answer = client.get("pools", named.pool, "backends", named.backend, "health")
    if arguments.json:
        import json

        print(json.dumps(answer))
        return 0
    cause = named.found["cause"]
    state = f"{named.found['state']}{f': {cause}' if cause else ''}"
    say(f"{named} ({named.found['address']}) is {state}")
    if answer["checks"]:
        show(["", *check_lines(answer["checks"], table_width(), paint_of_output())])
    else:
        say("It was not checked yet, or is not checked at all.")
    return 0


def check_lines(checks: Sequence[Mapping[str, Any]], width: int | None, paint: Paint) -> list[str]:
    """Draw the table."""
    from tcpbalance.cli.table import BAD, GOOD, WARNING, Cell, Column, table_lines

    words = {True: Cell("passed", GOOD), False: Cell("failed", BAD), None: Cell("unknown", WARNING)}
    rows = [
        [
            Cell(check["time"]),
            words[check["passed"]],
            Cell(f"{check['seconds'] * 1000:.1f} ms"),
            Cell(check["cause"]),
        ]
        for check in checks
    ]
    columns = [Column("TIME"), Column("RESULT"), Column("TOOK", right=True), Column("CAUSE", shrinks_to=12)]
    return table_lines(columns, rows, width, paint)
