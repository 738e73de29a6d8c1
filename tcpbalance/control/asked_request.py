"""A request that is asked about: its line and its fields in words, and the frontend that it comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Self

from attrs import frozen

from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.messages import choices, value_text
from tcpbalance.control.api_request import ApiError
from tcpbalance.errors import SettingError

# A URL has nothing else: RFC 3986, section 2. A fragment is never sent.
_match_request = re.compile(r"(?:([!-~]+) +)?([!-~]+)").fullmatch
_match_url = re.compile(r"(https?)://([^/?#]+)([^#]*)(?:#.*)?", re.IGNORECASE).fullmatch
_match_field = re.compile(r"[!-9;-~]+:[\t -~]*").fullmatch
_find_port = re.compile(r":([0-9]{1,5})$").search


@frozen
class AskedRequest:
    """A request without a body.

    :param data: its head, as a client would send it.
    :param is_secure: whether it comes by TLS; None where that is not said.
    :param port: where it comes to; None where that is not said.
    """

    data: bytes
    is_secure: bool | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str, fields: Sequence[str] = ()) -> Self:
        """Read a request.

        :param text: ``"GET https://www.example.com/api"``, or a method and a target. GET may be left out.
        :param fields: of its head; each a line. The host of a URL needs none.
        :raises SettingError: it is none.
        """
        found = _match_request(text)
        if found is None:
            form = '"GET https://www.example.com/api"'
            raise SettingError(f"must be a method and a URL such as {form}, got {value_text(text)}")
        method, target = found[1] or "GET", found[2]
        url = _match_url(target)
        if url is None:
            # Of a tunnel, the target is the host: RFC 9112, section 3.2.3.
            return cls(_head(method, target, (f"Host: {target}", *fields) if method == "CONNECT" else fields))
        scheme, host, target = url.groups()
        is_secure, port = scheme.lower() == "https", _find_port(host)
        data = _head(method, target if target.startswith("/") else f"/{target}", (f"Host: {host}", *fields))
        return cls(data, is_secure, int(port[1]) if port else 443 if is_secure else 80)

    def frontend(self, frontends: Mapping[str, FrontendConfig]) -> str:
        """Find the frontend that it comes to: the one that reads requests, by TLS or not, at the port.

        :raises ApiError: there is none, or several may be meant.
        """
        fit = {name: its for name, its in frontends.items() if its.mode == "http"}
        if not fit:
            raise ApiError(400, "not_http", 'no frontend has mode = "http", so none reads requests')
        by_tls = {name: its for name, its in fit.items() if (its.tls is not None) is self.is_secure}
        fit = by_tls or fit
        by_port = [name for name, its in fit.items() if self.port in {place.port for place in its.listen}]
        names = by_port or list(fit)
        if len(names) > 1:
            raise ApiError(400, "missing_parameter", f"which frontend is meant: give {choices(names)}")
        return names[0]


def read_fields(text: str) -> tuple[str, ...]:
    """Read the fields of a head.

    :param text: lines; empty for none.
    :raises SettingError: one is no field.
    """
    lines = text.splitlines()
    for line in lines:
        if not _match_field(line):
            raise SettingError(f'must be lines such as "Accept: */*", got {value_text(line)}')
    return tuple(lines)


def _head(method: str, target: str, fields: Sequence[str]) -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", *fields, "", "")).encode("ascii")
