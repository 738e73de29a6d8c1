"""The changes of a configuration, as the admin side gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tcpbalance.config.messages import value_text
from tcpbalance.config.plan import MAX_LISTED


def show_plan(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the changes as ``tcpbalance plan`` prints those between two files.

    :param answer: with ``plan`` and ``summary``.
    """
    if as_json:
        print(json.dumps(answer["plan"], indent=2))
    else:
        print("\n".join([*change_lines(answer["plan"]), answer["summary"]]))


def change_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """Word each change in a line."""
    for part, table in plan["added"].items():
        yield f"+ {part}{_where(table)}"
    for part, table in plan["removed"].items():
        drains = "; drains" if part in plan["draining"] else ""
        yield f"- {part}{_where(table)}{drains}"
    for change in plan["changed"]:
        yield f"~ {change['key']}: {_text(change['old'])} -> {_text(change['new'])} ({change['effect']})"


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
