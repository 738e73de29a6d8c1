"""States of backends that are not those of the file, and what a reload does to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tcpbalance.config.difference import Difference
from tcpbalance.config.errors import KeyPath, key_text
from tcpbalance.config.models import Config
from tcpbalance.control.view import View


def run_time_states(config: Config, pools: Iterable[View], to_file: Difference) -> Iterator[dict[str, Any]]:
    """Give the states that were set at run time, of backends that stay.

    :param config: that is in use.
    :param pools: as the API shows them.
    :param to_file: from that configuration to the file.
    """
    configured = {
        ("pools", name, "backends", backend.name): backend.state
        for name, pool in config.pools.items()
        for backend in pool.backends
    }
    new_values: defaultdict[KeyPath, dict[str, object]] = defaultdict(dict)
    for change in to_file.changed:
        new_values[change.path[:-1]][str(change.path[-1])] = change.new
    for pool in pools:
        for backend in pool["backends"]:
            part = ("pools", pool["name"], "backends", backend["name"])
            state = backend["admin_state"]
            if part in to_file.removed or configured.get(part, state) == state:
                continue
            changes = new_values.get(part, {})
            file = changes.get("state", configured[part])
            # Where the address changes, it is another backend, which begins as the file says.
            is_kept = not changes.keys() & {"state", "address"}
            order = backend["state_order"] or {"time": None, "by": None}
            yield {
                "key": key_text((*part, "state")),
                "value": state,
                "file": file,
                "after_reload": state if is_kept else file,
                **order,
            }
