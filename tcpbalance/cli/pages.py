"""Lists that the admin side gives page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient

SHOWN = 100
"""Entries, unless more are asked for."""

PAGES = {"sessions": 5000, "affinity": 1000}
"""How many entries are asked for at once; the admin side gives no more."""


def listed(
    client: AdminClient, what: str, filters: Mapping[str, str | None], limit: int
) -> tuple[list[Mapping[str, Any]], bool]:
    """Get page after page.

    :param what: the name of the list, in the path and in the answer.
    :param limit: how many entries are wanted at most.
    :returns: the entries, and whether there are more.
    """
    found: list[Mapping[str, Any]] = []
    after = None
    while True:
        page = client.get(what, limit=min(PAGES[what], limit - len(found)), after=after, **filters)
        found += page[what]
        after = page["next"]
        if after is None or len(found) >= limit:
            return found, after is not None
