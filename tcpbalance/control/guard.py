"""Which requests the admin side serves: by the name it is asked for, the token, and where a page is from.

A page that the operator visits must not steer the balancer. So the host must be one that cannot belong to
another site (DNS rebinding), a change must have a content type that a page cannot send across sites without
being asked first (Fetch standard, section 4.9, "CORS-preflight fetch"), and no origin but this one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Protocol

from tcpbalance.control.api_request import ApiError, ApiRequest
from tcpbalance.control.openapi_schemas import JSON

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")

_CHALLENGE = {"www-authenticate": 'Bearer realm="tcpbalance"'}

_OWN_PAGES = ("same-origin", "none")
"""Values of ``Sec-Fetch-Site``: a page of the admin side itself, and no page at all."""


class TokensInUse(Protocol):
    """The tokens of now, which may be replaced at any time; None where there is none.

    :ivar full: for everything.
    :ivar read_only: for what changes nothing.
    """

    @property
    def full(self) -> bytes | None: ...

    @property
    def read_only(self) -> bytes | None: ...


class Guard:
    """Lets requests pass, or refuses them.

    :param tokens: see above.
    :param hosts: names that the admin side is asked for by, beside ``localhost`` and IP addresses.
    """

    def __init__(self, tokens: TokensInUse, hosts: Collection[str] = ()) -> None:
        self._tokens = tokens
        self._hosts = {"localhost", *hosts}

    def check(self, request: ApiRequest) -> None:
        """Refuse what may not be served.

        :raises ApiError: see above.
        """
        self._check_host(request.headers.get("host", ""))
        if request.changes:
            _check_origin(request)
            _check_content_type(request)

    def check_token(self, request: ApiRequest) -> bool:
        """Refuse what lacks the token that it needs.

        :returns: whether the token may change nothing.
        :raises ApiError: see above.
        """
        if self._tokens.full is None:
            return False
        given = _bearer(request.headers.get("authorization", ""))
        if not given:
            raise ApiError(401, "token_missing", "a token is needed: Authorization: Bearer TOKEN", _CHALLENGE)
        # Both are compared in any case: the time says nothing of either.
        is_full = hmac.compare_digest(given, self._tokens.full)
        is_read_only = hmac.compare_digest(given, self._tokens.read_only or b"")
        if not (is_full or is_read_only):
            raise ApiError(401, "token_wrong", "the token is not one of this balancer's", _CHALLENGE)
        if request.changes and not is_full:
            raise ApiError(403, "token_reads_only", "this token may look and change nothing")
        return not is_full

    def _check_host(self, host: str) -> None:
        found = _HOST.fullmatch(host)
        name = found["host"].strip("[]").lower() if found else ""
        if not (name in self._hosts or _is_address(name)):
            raise ApiError(
                421,
                "host_not_known",
                f"asked for host {host[:100]!r}: use an IP address, localhost, or a name in hosts of [admin]",
            )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _bearer(authorization: str) -> bytes:
    scheme, _, token = authorization.partition(" ")
    return token.strip().encode("latin-1", "replace") if scheme.lower() == "bearer" else b""


def _check_origin(request: ApiRequest) -> None:
    origin = request.headers.get("origin")
    is_own = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not is_own or request.headers.get("sec-fetch-site", "none") not in _OWN_PAGES:
        raise ApiError(403, "foreign_origin", "a page of another site may not change anything here")


def _check_content_type(request: ApiRequest) -> None:
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    if kind.strip() != JSON:
        raise ApiError(415, "not_json", f"a change needs the header Content-Type: {JSON}")
    # JSON is UTF-8 (RFC 8259, section 8.1): what is in another charset would be read as something else.
    charsets = [
        its
        for name, _, its in (it.partition("=") for it in parameters.split(";"))
        if name.strip() == "charset"
    ]
    if any(its.strip().strip('"') not in ("utf-8", "utf8") for its in charsets):
        raise ApiError(415, "not_utf8", f"JSON is UTF-8: leave charset out of Content-Type: {JSON}")
