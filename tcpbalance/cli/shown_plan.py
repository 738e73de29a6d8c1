"""The changes of a configuration, as the admin side gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tcpbalance.cli.terminal import say
from tcpbalance.config.messages import value_text
from tcpbalance.config.plan import MAX_LISTED


def show_plan(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the changes as ``tcpbalance plan`` prints those between two files.

    :param answer: with ``plan`` and ``summary``.
    """
    if as_json:
        print(json.dumps(answer["plan"], indent=2))
    else:
        plan = answer["plan"]
        say(*change_lines(plan), answer["summary"], *_run_time_lines(plan["run_time"]))


def has_changes(plan: Mapping[str, Any]) -> bool:
    """Whether a reload would change something."""
    return any(changes for kind, changes in plan.items() if kind != "run_time")


def change_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """Word each change in a line."""
    for part, table in plan["added"].items():
        yield f"+ {part}{_where(table)}"
    for part, table in plan["removed"].items():
        drains = "; drains" if part in plan["draining"] else ""
        yield f"- {part}{_where(table)}{drains}"
    for change in plan["changed"]:
        yield f"~ {change['key']}: {_text(change['old'])} -> {_text(change['new'])} ({change['effect']})"


def _run_time_lines(states: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Word what was set at run time: what a reload keeps, and what it does not."""
    kept = [it for it in states if it["value"] == it["after_reload"]]
    if kept:
        yield "kept from run time:"
        for it in kept:
            yield f"  {it['key']}: {_text(it['value'])}, in the file {_text(it['file'])}{_order(it)}"
    ended = [it for it in states if it not in kept]
    if ended:
        yield "set at run time, ends with a reload:"
        for it in ended:
            yield f"  {it['key']}: {_text(it['value'])} -> {_text(it['after_reload'])}{_order(it)}"


def _order(state: Mapping[str, Any]) -> str:
    if state["time"] is None:
        return ""
    # A client of a unix socket has no address of its own.
    from_where = "through the unix socket" if state["by"] == "unix:" else f"by {state['by']}"
    return f" (set {from_where} at {state['time']})"


def _where(table: Mapping[str, Any]) -> str:
    if "listen" in table:
        return f": listens on {', '.join(table['listen'])}"
    return f": {table['address']}" if "address" in table else ""


def _text(value: object) -> str:
    if value is None:
        return "absent"
    if isinstance(value, list):
        shown = [_text(element) for element in value[:MAX_LISTED]]
        more = [f"{len(value) - MAX_LISTED} more"] if len(value) > MAX_LISTED else []
        return f"[{', '.join(shown + more)}]"
    return value_text(value)
