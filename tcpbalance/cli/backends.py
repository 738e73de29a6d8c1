"""``tcpbalance drain``, ``ready``, ``maintenance`` and ``weight``: which backends get how many clients."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import CommandParser, Commands, positive_number, seconds_or_text

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient
    from tcpbalance.cli.backend_names import NamedBackend

PROGRESS_EVERY = 0.5
"""Seconds between looks at a backend that drains."""

NO_DEADLINE = "none"
"""In the place of a time: sessions may go on without a limit."""


def add_drain(commands: Commands) -> None:
    """Add the command to a parser."""
    drain = _add_command(commands, "drain", "give a backend no new clients; its open sessions go on")
    drain.add_argument(
        "--wait", action="store_true", help="wait until no session is open, and show how many there are"
    )
    _add_deadline(drain)
    drain.set_defaults(run=_drain)


def add_ready(commands: Commands) -> None:
    """Add the command to a parser."""
    ready = _add_command(commands, "ready", "let a backend serve again")
    ready.set_defaults(run=_ready)


def add_maintenance(commands: Commands) -> None:
    """Add the command to a parser."""
    maintenance = _add_command(
        commands, "maintenance", "give a backend no clients, not even those that have affinity to it"
    )
    _add_deadline(maintenance)
    maintenance.set_defaults(run=_maintenance)


def add_weight(commands: Commands) -> None:
    """Add the command to a parser."""
    weight = _add_command(commands, "weight", "set the weight of a backend: its share against the others")
    weight.add_argument("weight", metavar="NUMBER", type=positive_number, help="1 to 256")
    weight.set_defaults(run=_weight)


def _add_command(commands: Commands, name: str, help: str) -> CommandParser:  # noqa: A002  # argparse's word
    command = add_admin_command(commands, name, help)
    command.add_argument(
        "backend", metavar="[POOL/]BACKEND", help="its name, with that of its pool where several have it"
    )
    return command


def _add_deadline(command: CommandParser) -> None:
    command.add_argument(
        "--deadline",
        metavar="TIME",
        type=seconds_or_text,
        help=f"end the sessions that are open after this time, such as 5m, or seconds; {NO_DEADLINE}: let "
        "them go on",
    )


def _deadline(arguments: argparse.Namespace) -> dict[str, float | str | None]:
    if arguments.deadline is None:
        return {}
    return {"deadline": None if arguments.deadline == NO_DEADLINE else arguments.deadline}


def _maintenance(arguments: argparse.Namespace) -> int:
    _set(client_of(arguments), arguments.backend, {"state": "maintenance", **_deadline(arguments)})
    return 0


def _drain(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    found = _set(client, arguments.backend, {"state": "drain", **_deadline(arguments)})
    if arguments.wait:
        _wait(client, found)
    return 0


def _ready(arguments: argparse.Namespace) -> int:
    _set(client_of(arguments), arguments.backend, {"state": "ready"})
    return 0


def _set(client: AdminClient, name: str, wanted: Mapping[str, object]) -> NamedBackend:
    """Set the state of a backend, and say what it is now."""
    from tcpbalance.cli.status_table import state_text
    from tcpbalance.cli.terminal import say

    named, answer = _change(client, name, wanted)
    say(f"{named}: {state_text(answer)}, {_sessions_now(client, named)} ({answer['lasts']})")
    return named


def _sessions_now(client: AdminClient, named: NamedBackend) -> str:
    """Say how many sessions are open. Its state is set, also where workers do not answer how many."""
    from tcpbalance.cli.command_error import CommandError

    try:
        return _sessions(client.get("pools", named.pool, "backends", named.backend))
    except CommandError as error:
        return f"open sessions are not known: {error}"


def _weight(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.terminal import say

    named, answer = _change(client_of(arguments), arguments.backend, {"weight": arguments.weight})
    say(f"{named}: weight {answer['weight']} ({answer['lasts']})")
    return 0


def _change(
    client: AdminClient, name: str, wanted: Mapping[str, object]
) -> tuple[NamedBackend, Mapping[str, Any]]:
    from tcpbalance.cli.backend_names import find_named

    named = find_named(client.get("pools", counters="false")["pools"], name)
    return named, client.change("PATCH", "pools", named.pool, "backends", named.backend, content=wanted)


def _wait(client: AdminClient, named: NamedBackend) -> None:
    """Show how the open sessions become fewer, until there is none.

    :raises CommandError: it does not drain any more.
    """
    from tcpbalance.cli.command_error import CommandError

    shown = None
    while True:
        backend = client.get("pools", named.pool, "backends", named.backend)
        if backend["admin_state"] != "drain":
            raise CommandError(
                f"{named} does not drain any more: its state was set to {backend['admin_state']}"
            )
        text = f"{named}: {_sessions(backend)}"
        if text != shown:
            _show_progress(text)
            shown = text
        if not _open_sessions(backend):
            break
        time.sleep(PROGRESS_EVERY)
    if sys.stdout.isatty():
        print()


def _show_progress(text: str) -> None:
    if sys.stdout.isatty():
        from tcpbalance.cli.table import shortened
        from tcpbalance.cli.terminal import terminal_size

        # A line that goes on below could not be drawn over.
        print(f"\r{shortened(text, terminal_size().columns - 1)}\x1b[K", end="", flush=True)
    else:
        print(text, flush=True)


def _sessions(backend: Mapping[str, Any]) -> str:
    count = _open_sessions(backend)
    return f"{count} {'session' if count == 1 else 'sessions'} open"


def _open_sessions(backend: Mapping[str, Any]) -> int:
    return int(backend["counters"].get("connections_active", 0))
