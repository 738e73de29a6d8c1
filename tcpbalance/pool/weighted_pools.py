"""Several pools that share the clients of a route by weight, such as a stable and a canary version."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import inf, log
from random import Random

from tcpbalance.pool.client import IPV4_PREFIX, IPV6_PREFIX, masked
from tcpbalance.pool.pool import Pool

_POOLS_KEY = b"tcpbalance pools"  # never change it: it decides which client goes where
_HASHES = 2**64


class WeightedPools:
    """Gives each client its pool: the same one each time, here and in every other process.

    Each pool draws a number for a client, by a keyed hash of both, that is exponentially distributed at the
    rate of its weight; the pool with the least one has the client. So a pool has the share of its weight, and
    another weight moves only clients to or from that pool: Thaler and Ravishankar, "Using name-based mappings
    to increase hit rates", 1998; with weights, Schindelhauer and Schomaker, "Weighted distributed hash
    tables", 2005. Routes that have the same pools agree about a client.

    :param weights: at least one pool with a weight above 0; the others get no client.
    :ivar weights: see above.
    """

    __slots__ = ("_draws", "weights")

    def __init__(self, weights: Mapping[Pool, int]) -> None:
        self.weights = weights
        self._draws = [
            (pool, weight, blake2b(pool.name.encode() + b"\0", digest_size=8, key=_POOLS_KEY))
            for pool, weight in weights.items()
            if weight
        ]

    def of_client(self, client: bytes | None, rng: Random) -> Pool:
        """Give the pool of a client, which is an IPv4 address or a network of IPv6.

        :param client: its packed address; None when it has none.
        :param rng: draws the pool of each request that comes from no address.
        """
        if client is None:
            return self.of_token(rng.randbytes(8))
        return self.of_token(masked(client, IPV4_PREFIX, IPV6_PREFIX))

    def of_token(self, token: bytes) -> Pool:
        """Give the pool of all that has this in common."""
        found, least = self._draws[0][0], inf
        for pool, weight, begun in self._draws:
            hashed = begun.copy()
            hashed.update(token)
            drawn = -log((int.from_bytes(hashed.digest()) + 0.5) / _HASHES) / weight
            if drawn < least:
                found, least = pool, drawn
        return found
