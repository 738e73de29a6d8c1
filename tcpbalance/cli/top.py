"""``tcpbalance top``: the backends of the balancer that runs, live, with keys that change them."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient
    from tcpbalance.cli.snapshots import Snapshot
    from tcpbalance.cli.top_table import TopRow

NEEDS_TEXTUAL = "needs textual, which is not installed: pip install 'tcpbalance[top]'"

SILENT_LOOK = 10.0
"""Seconds without a byte of an answer, see ``AdminClient``."""


def add_top(commands: Commands) -> None:
    """Add the command to a parser."""
    top = add_admin_command(
        commands, "top", "show the backends of the balancer that runs, live, with keys that change them"
    )
    top.set_defaults(run=_top)


def _top(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.command_error import CommandError
    from tcpbalance.cli.terminal import is_terminal

    try:
        from tcpbalance.cli.top_app import run_top
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise CommandError(NEEDS_TEXTUAL) from error
    if not is_terminal():
        raise CommandError("needs a terminal; for a program, there is: tcpbalance status --json")
    source = WatchedBalancer(client_of(arguments, SILENT_LOOK))
    # Where nothing answers to begin with, the reason is an error.
    source.look()
    # textual would believe these, which may have been exported long ago; else it asks the terminal.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    run_top(source)
    return 0


class WatchedBalancer:
    """See ``TopSource``.

    :param client: asks its admin side.
    """

    def __init__(self, client: AdminClient) -> None:
        self._client = client
        self.where = client.address.text

    def look(self) -> Snapshot:
        """See ``TopSource``."""
        from tcpbalance.cli.snapshots import Snapshot

        status, pools = self._client.get("status"), self._client.get("pools")["pools"]
        return Snapshot(status, (), pools, time.monotonic())

    def change(self, row: TopRow, wanted: Mapping[str, object]) -> str:
        """See ``TopSource``."""
        answer = self._client.change("PATCH", "pools", row.pool, "backends", row.name, content=wanted)
        what = f"weight {answer['weight']}" if "weight" in wanted else answer["state"]
        return f"{row.full_name}: {what} ({answer['lasts']})"
