"""Affinity that clients keep themselves: a cookie says which backends a client belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from tcpbalance.config.cookies import AffinityCookieConfig, secret_of_process
from tcpbalance.pool.backend import Backend
from tcpbalance.wire.http.cookie import CookieReader

_HASH_DIGITS = 16
"""Of the hash of a name, in hexadecimal."""


class StickyClient(bytes):
    """A client's packed address, empty where it has none, with the backends that its cookie names.

    It is handed to a pool in the place of the address alone.

    :ivar sticky: the sticky backend, then its fallback.
    """

    sticky: Sequence[Backend]

    @classmethod
    def of(cls, client: bytes | None, sticky: Sequence[Backend]) -> StickyClient:
        """Make it.

        :param client: the packed address; None where the client has none.
        """
        made = cls(client or b"")
        made.sticky = sticky
        return made


class CookieAffinity:
    """Remembers nothing: a client is sent where its cookie says, by the same rules as of ``Affinity``.

    The value of the cookie is a hash of the name of the sticky backend and, behind a point, that of its
    fallback. The key of the hash is secret, so that names cannot be found by trying. A value that is not
    known counts like none, whether it is forged or of a backend that is not there any more.

    :param pool: the pool's name.
    :param config: says how to make the cookie.
    :ivar name: of the cookie.
    :ivar reader: finds it.
    """

    def __init__(self, pool: str, config: AffinityCookieConfig) -> None:
        self.config = config
        self.name = config.name or f"tcpbalance_{blake2b(pool.encode(), digest_size=4).hexdigest()}"
        self.reader = CookieReader(self.name.encode("ascii"))
        key = blake2b((config.secret or secret_of_process()).encode(), digest_size=32).digest()
        self._begun = blake2b(pool.encode() + b"\0", digest_size=_HASH_DIGITS // 2, key=key)
        self._backends: dict[bytes, Backend] = {}

    def adopt(self, backends: Iterable[Backend]) -> None:
        """Know these backends, and no others."""
        self._backends = {self._hash(backend): backend for backend in backends}

    def _hash(self, backend: Backend) -> bytes:
        hashed = self._begun.copy()
        hashed.update(backend.name.encode())
        return hashed.hexdigest().encode()

    def lookup(self, client: bytes) -> Sequence[Backend]:
        """Give the backends of a client: its sticky backend, then its fallback; none when it is not known."""
        return client.sticky if isinstance(client, StickyClient) else ()

    def client(self, client: bytes | None, value: bytes | None) -> StickyClient:
        """Give a client with the backends that its cookie names.

        :param client: its packed address, None when it has none.
        :param value: of its cookie, None without one.
        """
        if value is None or len(value) not in (_HASH_DIGITS, 2 * _HASH_DIGITS + 1):
            return StickyClient.of(client, ())
        known = self._backends
        named = dict.fromkeys(known[part] for part in value.split(b".") if part in known)
        return StickyClient.of(client, tuple(named))

    def value_of(self, client: StickyClient) -> bytes:
        """Give the value by which a client is known that has a backend."""
        return b".".join(self._hash(backend) for backend in client.sticky)

    def value_after(self, client: StickyClient, backend: Backend) -> bytes | None:
        """Give the value that the cookie is to have once a backend has served the client.

        :returns: None where it has it already.
        """
        sticky = client.sticky
        if backend in sticky:
            return None
        if not sticky:
            return self._hash(backend)
        first = sticky[0]
        if first.backup and not backend.backup:
            return b"%b.%b" % (self._hash(backend), self._hash(first))
        return b"%b.%b" % (self._hash(first), self._hash(backend))
