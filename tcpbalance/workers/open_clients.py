"""How many connections clients have, by frontend: as a process counts them, and as messages carry it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CLIENTS_A_MESSAGE = 1000
"""Clients whose counts are sent at once: 20 to 30 KiB."""


class OpenClients:
    """Counts of connections, by frontend and client; none is below 0, and a client without any is forgotten.

    A client is written as the hexadecimal digits of what ``admission.clients.group`` gives.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def __bool__(self) -> bool:
        """Whether there is any connection."""
        return bool(self._counts)

    def count(self, frontend: str, client: str) -> int:
        """Give the connections of one client."""
        return self._counts.get(frontend, {}).get(client, 0)

    def change(self, frontend: str, changes: Mapping[str, int]) -> dict[str, int]:
        """Count more connections, or fewer where a change is negative.

        :param changes: by client.
        :returns: those changes that were made: no count has become negative.
        """
        counts = self._counts.setdefault(frontend, {})
        made: dict[str, int] = {}
        for client, change in changes.items():
            before = counts.get(client, 0)
            after = max(0, before + change)
            if after:
                counts[client] = after
            else:
                counts.pop(client, None)
            if after != before:
                made[client] = after - before
        if not counts:
            del self._counts[frontend]
        return made

    def forget(self, frontend: str) -> None:
        """Count nothing of a frontend."""
        self._counts.pop(frontend, None)

    def all(self) -> Iterator[tuple[str, dict[str, int]]]:
        """Give all counts, by frontend."""
        return ((frontend, dict(counts)) for frontend, counts in self._counts.items())


def in_messages(frontend: str, changes: Mapping[str, int], sign: int = 1) -> Iterator[dict[str, Any]]:
    """Give the messages by which changes are sent.

    :param sign: -1 for the reverse of the changes.
    """
    clients = list(changes)
    for start in range(0, len(clients), CLIENTS_A_MESSAGE):
        piece = {client: sign * changes[client] for client in clients[start : start + CLIENTS_A_MESSAGE]}
        yield {"clients": {"frontend": frontend, "changes": piece}}
