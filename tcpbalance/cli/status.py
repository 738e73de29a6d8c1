"""``tcpbalance status``: the frontends and pools of a balancer, once or again and again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands, positive_seconds

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient
    from tcpbalance.cli.snapshots import Snapshot

WATCH_EVERY = 2.0
"""Seconds."""


def add_status(commands: Commands) -> None:
    """Add the command to a parser."""
    status = add_admin_command(commands, "status", "show the frontends and pools of the balancer that runs")
    status.add_argument("--json", action="store_true", help="show them as JSON, one object a look")
    status.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=positive_seconds,
        const=WATCH_EVERY,
        help=f"look again every so many seconds ({WATCH_EVERY:g} by default) until Ctrl-C, and show rates",
    )
    status.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    if arguments.watch is None:
        _show(_look(client), None, client, arguments)
    else:
        _watch(client, arguments)
    return 0


def _watch(client: AdminClient, arguments: argparse.Namespace) -> None:
    """Look until Ctrl-C; a balancer that does not answer for a while, such as in a restart, is waited for."""
    import time

    from tcpbalance.cli.command_error import UNREACHABLE, CommandError

    before: Snapshot | None = None
    now = _look(client)
    while True:
        _show(now, before, client, arguments)
        before = now
        time.sleep(arguments.watch)
        while True:
            try:
                now = _look(client)
                break
            except CommandError as error:
                if error.status != UNREACHABLE:
                    raise
                _show_lost(f"{time.strftime('%H:%M:%S')} {error}")
                time.sleep(arguments.watch)


def _look(client: AdminClient) -> Snapshot:
    import time

    from tcpbalance.cli.snapshots import Snapshot

    return Snapshot(
        client.get("status"),
        client.get("frontends")["frontends"],
        client.get("pools")["pools"],
        time.monotonic(),
    )


def _show(now: Snapshot, before: Snapshot | None, client: AdminClient, arguments: argparse.Namespace) -> None:
    if arguments.json:
        import json

        print(json.dumps({"status": now.status, "frontends": now.frontends, "pools": now.pools}), flush=True)
        return
    from tcpbalance.cli.status_table import status_lines
    from tcpbalance.cli.terminal import is_terminal, paint_of_output, redraw, show, table_width

    watches = arguments.watch is not None
    lines = status_lines(
        now, before, client.address.text, table_width(), paint_of_output(), with_rates=watches
    )
    if watches and is_terminal():
        redraw(lines)
    else:
        show([*lines, ""] if watches else lines)


def _show_lost(line: str) -> None:
    import sys

    from tcpbalance.cli.terminal import is_terminal, redraw

    if is_terminal():
        redraw([line])
    else:
        print(line, file=sys.stderr)
