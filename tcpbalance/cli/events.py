"""``tcpbalance events``: what has happened lately, and what happens now."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands
from tcpbalance.cli.table import BAD, GOOD, STRONG, WARNING, Paint, wrapped_lines

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient

_SUBJECTS = ("frontend", "pool", "backend", "worker")
"""Keys that say what an event is about; the others say more of it."""

_STYLES = {
    "backend_down": BAD,
    "backend_ejected": BAD,
    "reload_refused": BAD,
    "backend_up": GOOD,
    "backend_readmitted": GOOD,
    "overload_begins": WARNING,
}

Word: TypeAlias = Callable[[Mapping[str, Any]], str]
"""Words an event."""


def add_events(commands: Commands) -> None:
    """Add the command to a parser."""
    events = add_admin_command(commands, "events", "show what has happened lately, the latest last")
    events.add_argument(
        "-f", "--follow", action="store_true", help="go on with each event as it comes, until Ctrl-C"
    )
    events.add_argument("--json", action="store_true", help="show each event as a line of JSON")
    events.set_defaults(run=_events)


def _events(arguments: argparse.Namespace) -> int:
    import json
    from functools import partial

    from tcpbalance.cli.terminal import paint_of_output, table_width

    client = client_of(arguments)
    word: Word = json.dumps if arguments.json else partial(event_text, paint_of_output(), table_width())
    answer = client.get("events")
    for event in answer["events"]:
        print(word(event))
    if arguments.follow:
        _follow(client, answer["newest"], word)
    return 0


def _follow(client: AdminClient, since: int, word: Word) -> None:
    """Show events as they come.

    :raises CommandError: the stream has ended.
    """
    # What has happened before is shown before the next event comes.
    sys.stdout.flush()
    for name, event in client.stream("events", since=since):
        if name == "missed":
            print("Here some events are missing: there were too many.", file=sys.stderr)
        else:
            print(word(event), flush=True)


def event_text(paint: Paint, width: int | None, event: Mapping[str, Any]) -> str:
    """Word an event.

    :param width: of its lines; None for one line.
    """
    from tcpbalance.config.messages import one_line

    kind = event["kind"]
    subjects = [f"{name} {event[name]}" for name in _SUBJECTS if event.get(name) is not None]
    more = [
        # A client of a unix socket has no address of its own.
        "by the unix socket" if (name, value) == ("by", "unix:") else f"{name} {value}"
        for name, value in event.items()
        if name not in ("number", "time", "kind", *_SUBJECTS) and value not in ("", None)
    ]
    text = one_line(", ".join([*subjects, *more]), 1000)
    words = kind.replace("_", " ")
    lines = wrapped_lines([f"{event['time']}  {words}  {text}"], width)
    return "\n".join(lines).replace(words, paint(words, _STYLES.get(kind, STRONG)), 1)
