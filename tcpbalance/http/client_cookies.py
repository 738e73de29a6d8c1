"""The cookies by which the client of a request is known again, and those that its response has to set."""

from __future__ import annotations

import re
from random import Random

from tcpbalance.config.cookies import CookieConfig
from tcpbalance.http.cookie_age import is_due, with_time, without_time
from tcpbalance.http.routes import Route
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.cookie_affinity import CookieAffinity, StickyClient
from tcpbalance.pool.pool import Pool
from tcpbalance.wire.http.cookie import CookieReader, set_cookie
from tcpbalance.wire.http.head import RequestHead

PRIVATE = b"Cache-Control: private\r\n"
"""With a cookie of ours: a cache that gave the response to other clients would give them the cookie, too."""

_TOKEN_DIGITS = 6
_is_token = re.compile(rb"[0-9a-f]{%d}" % _TOKEN_DIGITS).fullmatch


class ClientCookies:
    """The cookies of ours that a request has to do with.

    :param head: of the request.
    :param is_https: whether the client has come by HTTPS.
    :param now: seconds since the epoch.
    """

    __slots__ = ("_affinity", "_client", "_head", "_is_due", "_is_https", "_lines", "_now")

    def __init__(self, head: RequestHead, is_https: bool, now: float) -> None:
        self._head = head
        self._is_https = is_https
        self._now = now
        self._lines = b""
        self._is_due = False
        self._affinity: CookieAffinity | None = None
        self._client = StickyClient()

    def choose_pool(self, route: Route, client: bytes | None, rng: Random) -> Pool:
        """Give the pool that serves the client.

        The cookie of a route has a number that was drawn at random. Several clients have the same one: it
        identifies none of them.

        :param route: leads to a pool, or to several.
        :param client: its packed address, None when it has none.
        """
        if route.pool is not None:
            return route.pool
        assert route.pools is not None
        cookie = route.pools_cookie
        if cookie is None:
            return route.pools.of_client(client, rng)
        token, is_due = self._read(cookie.reader, cookie.config)
        if token is None or not _is_token(token):
            token, is_due = b"%0*x" % (_TOKEN_DIGITS, rng.getrandbits(4 * _TOKEN_DIGITS)), True
        if is_due:
            self._lines += self._line(cookie.name, token, cookie.config)
        return route.pools.of_token(token)

    def client_of(self, pool: Pool, client: bytes | None) -> bytes | None:
        """Give the client as its pool is to know it: with where its cookie says that it belongs.

        :param client: its packed address, None when it has none.
        """
        affinity = self._affinity = pool.cookie_affinity
        if affinity is None:
            return client
        value, self._is_due = self._read(affinity.reader, affinity.config)
        self._client = affinity.client(client, value)
        return self._client

    def _read(self, reader: CookieReader, config: CookieConfig) -> tuple[bytes | None, bool]:
        """Give the value of a cookie, None without one, and whether it is to be set anew."""
        value = reader.read(self._head)
        if value is None:
            return None, False
        value, set_at = without_time(value)
        return value, is_due(set_at, config.ttl.max_age, self._now)

    def lines(self, backend: Backend) -> bytes:
        """Give what the head of a response has to say about cookies, as lines.

        :param backend: has served the client.
        """
        lines, affinity = self._lines, self._affinity
        if affinity is not None:
            value = affinity.value_after(self._client, backend)
            if value is None and self._is_due:
                value = affinity.value_of(self._client)
            if value is not None:
                lines += self._line(affinity.name, value, affinity.config)
        return lines + PRIVATE if lines else b""

    def _line(self, name: str, value: bytes, config: CookieConfig) -> bytes:
        max_age = config.ttl.max_age
        return set_cookie(
            name.encode("ascii"),
            value if max_age is None else with_time(value, self._now),
            max_age=max_age,
            secure=self._is_https if config.secure is None else config.secure,
            same_site=config.same_site,
        )
