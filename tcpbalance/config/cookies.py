"""What an operator can write about the cookies by which clients are known again."""

from __future__ import annotations

import math
from functools import cache
from os import urandom
from typing import Any, Literal, TypeAlias

import attrs
from attrs import converters, field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.http_values import CookieName
from tcpbalance.config.metadata import doc, hidden
from tcpbalance.config.quantities import CookieTtl
from tcpbalance.config.strict import strict

SameSite: TypeAlias = Literal["lax", "strict", "none"]

MIN_SECRET = 16
"""Characters; what is shorter can be guessed."""

_NEEDS_SECURE = ("__Host-", "__Secure-")


@cache
def secret_of_process() -> str:
    """Give the secret where none is configured; workers are given that of the supervisor.

    It is made by the first call: a process that was forked before has another one.
    """
    return urandom(32).hex()


def _kept_by_browsers(cookie: Any, key: attrs.Attribute[Any], secure: bool | None) -> None:
    """Refuse a cookie that browsers keep only with `Secure`."""
    if secure:
        return
    if cookie.same_site == "none":
        raise InvalidValue(key.name, 'must be true with same_site = "none", else browsers drop the cookie')
    if cookie.name is not None and cookie.name.startswith(_NEEDS_SECURE):
        raise InvalidValue(key.name, f"must be true with the name {cookie.name}, which browsers drop else")


@frozen(kw_only=True, field_transformer=strict)
class CookieConfig:
    """`pools_cookie` of a route: the cookie by which a client is known again."""

    name: CookieName | None = field(
        default=None,
        converter=converters.optional(plain.cookie_name),
        metadata=doc(
            "The name of the cookie.",
            default="`tcpbalance_pools`; of affinity, `tcpbalance_` and digits made of the pool's name",
        ),
    )
    secure: bool | None = field(
        default=None,
        validator=_kept_by_browsers,
        metadata=doc(
            "Whether browsers send the cookie by HTTPS only.",
            default="`true` for clients that come by HTTPS",
        ),
    )
    same_site: SameSite = field(
        default="lax",
        metadata=doc(
            'Whether browsers send the cookie with requests from pages of other sites: `"lax"`, if a link '
            'leads here; `"strict"`, never; `"none"`, always, which needs `secure = true`.'
        ),
    )
    ttl: CookieTtl = field(
        default=CookieTtl(math.inf),
        converter=plain.cookie_ttl,
        validator=checks.at_least(CookieTtl(1)),
        metadata=doc(
            "How long browsers keep the cookie. The first response after half of this time sets it anew, so "
            'that clients that come back keep it; `"session"`, until they are closed.'
        ),
    )


def _long(_: object, key: attrs.Attribute[Any], secret: str) -> None:
    if len(secret) < MIN_SECRET:
        raise InvalidValue(
            key.name,
            f"must have at least {MIN_SECRET} characters, as `openssl rand -hex 16` makes them, "
            f"got {len(secret)}",
        )


@frozen(kw_only=True, field_transformer=strict)
class AffinityCookieConfig(CookieConfig):
    """`cookie` of `[pools.NAME.affinity]`: the cookie that says which backend a client belongs to."""

    secret: str | None = field(
        default=None,
        validator=optional(_long),
        metadata=doc(
            "The key of the hash of the backend's name that is the value of the cookie. Balancers with the "
            f"same one know each other's cookies. At least {MIN_SECRET} characters.",
            default="a random one at each start: earlier cookies do not count then",
        )
        | {"shown": hidden},
    )
