"""The cookies by which the client of a request is known again, and those that its response has to set."""

from __future__ import annotations

import re
from random import Random

from tcpbalance.config.cookies import CookieConfig
from tcpbalance.http.routes import Route
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.cookie_affinity import CookieAffinity, StickyClient
from tcpbalance.pool.pool import Pool
from tcpbalance.wire.http.cookie import set_cookie
from tcpbalance.wire.http.head import RequestHead

PRIVATE = b"Cache-Control: private\r\n"
"""With a cookie of ours: a cache that gave the response to other clients would give them the cookie, too."""

_TOKEN_DIGITS = 6
_is_token = re.compile(rb"[0-9a-f]{%d}" % _TOKEN_DIGITS).fullmatch


class ClientCookies:
    """The cookies of ours that a request has to do with.

    :param head: of the request.
    :param is_https: whether the client has come by HTTPS.
    """

    __slots__ = ("_affinity", "_client", "_head", "_is_https", "_lines")

    def __init__(self, head: RequestHead, is_https: bool) -> None:
        self._head = head
        self._is_https = is_https
        self._lines = b""
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
        token = cookie.reader.read(self._head)
        if token is None or not _is_token(token):
            token = b"%0*x" % (_TOKEN_DIGITS, rng.getrandbits(4 * _TOKEN_DIGITS))
            self._lines += self._line(cookie.name, token, cookie.config)
        return route.pools.of_token(token)

    def client_of(self, pool: Pool, client: bytes | None) -> bytes | None:
        """Give the client as its pool is to know it: with where its cookie says that it belongs.

        :param client: its packed address, None when it has none.
        """
        affinity = self._affinity = pool.cookie_affinity
        if affinity is None:
            return client
        self._client = affinity.client(client, affinity.reader.read(self._head))
        return self._client

    def lines(self, backend: Backend) -> bytes:
        """Give what the head of a response has to say about cookies, as lines.

        :param backend: has served the client.
        """
        lines, affinity = self._lines, self._affinity
        if affinity is not None and (value := affinity.value_after(self._client, backend)) is not None:
            lines += self._line(affinity.name, value, affinity.config)
        return lines + PRIVATE if lines else b""

    def _line(self, name: str, value: bytes, config: CookieConfig) -> bytes:
        return set_cookie(
            name.encode("ascii"),
            value,
            max_age=config.ttl.max_age,
            secure=self._is_https if config.secure is None else config.secure,
            same_site=config.same_site,
        )
