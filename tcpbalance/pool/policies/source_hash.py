"""Source hash: the client's address decides, with nothing to remember."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.client import IPV4_PREFIX, IPV6_PREFIX, masked
from tcpbalance.pool.policies.base import OrderPreview, PolicyTools
from tcpbalance.pool.policies.maglev import SIZE, table_of
from tcpbalance.pool.policies.round_robin import RoundRobin

_KEY = b"tcpbalance client"  # never change it: it decides which client goes where


class SourceHash:
    """The backend that the client's address falls on in a Maglev table.

    The table depends on the backends' names and weights only: it is the same after a restart and in every
    process, and when one of n backends is taken out, about 1/n of the clients move.
    """

    def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._backends = _sorted(backends)
        self._table = table_of(self._backends)
        self._unaddressed = RoundRobin(backends, tools)

    @staticmethod
    def prepare_tables(backends: Sequence[Backend], rest: Callable[[], object]) -> object:
        """See ``PreparedPolicyFactory``."""
        return table_of(_sorted(backends), rest)

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the client's backend, then those on the entries that follow.

        So the clients of one that is down spread over all others. A client without an address is served by
        round robin.
        """
        if client is None:
            return self._unaddressed.candidates(None)
        return self._walk(_entry(client))

    def preview(self, client: bytes | None) -> OrderPreview:
        """See ``PreviewablePolicy``."""
        if client is None:
            return self._unaddressed.preview(None)
        return OrderPreview(list(self.candidates(client)), True, "a hash of the client's address")

    def _walk(self, entry: int) -> Iterator[Backend]:
        table, backends = self._table, self._backends
        first = table[entry]
        yield backends[first]
        seen = {first}
        for following in range(entry + 1, entry + SIZE):
            index = table[following % SIZE]
            if index not in seen:
                seen.add(index)
                yield backends[index]
                if len(seen) == len(backends):
                    return


def _sorted(backends: Sequence[Backend]) -> list[Backend]:
    return sorted(backends, key=lambda backend: backend.name)


def _entry(client: bytes) -> int:
    digest = blake2b(masked(client, IPV4_PREFIX, IPV6_PREFIX), digest_size=8, key=_KEY).digest()
    return int.from_bytes(digest) % SIZE
