"""Entries of affinity in messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any

from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.backend import Backend
from tcpbalance.workers.backend_table import MAX_PART, BackendTable, encoded_size, key_of

ENTRIES_A_MESSAGE = 100
"""Clients of one message, which is made, or taken, within a millisecond."""

MAX_ENTRIES_A_MESSAGE = 250
"""Clients of one message to a process that does not serve yet; more might not fit."""

_EMPTY_PART = 80
"""Bytes of a part about no client and no backend."""

Entries = dict[bytes, list[tuple[Backend, float]]]
"""Those of each client, its sticky backend first, with when each expires: infinity while it is connected."""


def encode_entries(affinity: Affinity, table: BackendTable, clients: Sequence[bytes]) -> dict[str, Any]:
    """Give the entries of clients as parts of a message, of as many of the first of them as it has space for.

    :param affinity: knows them; one that it does not know is to be forgotten.
    :param table: the pool's backends.
    :param clients: at most `MAX_ENTRIES_A_MESSAGE`.
    :returns: a part of a message; ``count`` is how many of the clients are in it.
    """
    while True:
        rows = affinity.rows_of(clients, table.numbers)
        used = dict.fromkeys(number for _, number, _ in rows)
        keys = [key_of(table.pool.backends[number]) for number in used]
        if len(clients) == 1 or encoded_size(keys) <= MAX_PART:
            break
        clients = clients[: len(clients) // 2]
    places = {number: place for place, number in enumerate(used)}
    known = {client for client, _, _ in rows}
    encoded = [[c.hex(), places[number], None if at == inf else at] for c, number, at in rows]
    forgotten = [client.hex() for client in clients if client not in known]
    return {
        "pool": table.pool.name,
        "backends": keys,
        "rows": encoded,
        "forgotten": forgotten,
        "count": len(clients),
    }


def parts_that_fit(
    gives: Iterable[Callable[[int], Mapping[str, Any] | None]], max_clients: int = ENTRIES_A_MESSAGE
) -> list[Mapping[str, Any]]:
    """Give parts of one message.

    :param gives: what gives a part each, of as many clients as it is called with at most; None for none.
    :param max_clients: of how many clients at most, together.
    """
    parts: list[Mapping[str, Any]] = []
    clients = size = 0
    for give in gives:
        if clients >= max_clients or size >= MAX_PART:
            break
        part = give(max_clients - clients)
        if part is not None:
            parts.append(part)
            clients += part["count"]
            size += encoded_size(part["backends"]) + encoded_size(part["pool"]) + _EMPTY_PART
    return parts


def decode_entries(table: BackendTable, content: Mapping[str, Any]) -> Entries:
    """Give what another process has encoded, of the backends that are known here.

    :returns: no entries of a client that is to be forgotten.
    """
    backends = [table.get(key) for key in content["backends"]]
    entries: Entries = {bytes.fromhex(client): [] for client in content["forgotten"]}
    for client, place, expires in content["rows"]:
        backend = backends[place]
        its = entries.setdefault(bytes.fromhex(client), [])
        if backend is not None:
            its.append((backend, inf if expires is None else expires))
    return entries


def latest_first(entries: Entries, now: float) -> Iterable[tuple[bytes, Backend, float]]:
    """Give entries as `RecordedAffinity.restore` wants them.

    :param entries: the most recently used client first.
    :param now: the clock.
    """
    for client, its in entries.items():
        for backend, expires in reversed(its):
            yield client, backend, expires - now
