"""What lines of the access log say of an HTTP request beside what they say of each session.

The lines are spelled out for the same reason as those of sessions. Texts that come again with many requests
are not made anew: clients have a part in them, so few are kept.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

from tcpbalance.logs.quoting import bare_or_quoted, optional, quoted

if TYPE_CHECKING:
    from tcpbalance.http.record import RequestRecord


_Usual: TypeAlias = tuple[tuple[str, str | None, str, int], tuple[str | None, str | None, bool, str | None]]
"""What many requests have in common: method, host, version and status; route, pool, whether a connection was
reused, and the user."""


def request_text(record: RequestRecord) -> str:
    """Give `key=value` pairs, each with a space before it."""
    target, request_id, head, first_byte = record.target, record.request_id, record.head, record.first_byte
    referer, user_agent = record.referer, record.user_agent
    key = (
        (record.method, record.host, record.version, record.status),
        (record.route, record.pool, record.reused, record.user),
    )
    usual = _usual_text(key)
    return (
        f"{usual} target={bare_or_quoted(target) if target else '-'}"
        f" request_id={'-' if request_id is None else bare_or_quoted(request_id)}"
        f" head_ms={'-' if head is None else f'{head * 1000.0:.3f}'}"
        f" first_byte_ms={'-' if first_byte is None else f'{first_byte * 1000.0:.3f}'}"
        f" request_body={record.request_body} response_body={record.response_body}"
        f" referer={'-' if referer is None else _known_text(referer)}"
        f" user_agent={'-' if user_agent is None else _known_text(user_agent)}"
    )


def request_json(record: RequestRecord) -> str:
    """Give members of a JSON object, each with a comma before it."""
    target, request_id, head, first_byte = record.target, record.request_id, record.head, record.first_byte
    referer, user_agent = record.referer, record.user_agent
    key = (
        (record.method, record.host, record.version, record.status),
        (record.route, record.pool, record.reused, record.user),
    )
    usual = _usual_json(key)
    return (
        f'{usual},"target":{quoted(target) if target else "null"}'
        f',"request_id":{"null" if request_id is None else quoted(request_id)}'
        f',"head_ms":{"null" if head is None else f"{head * 1000.0:.3f}"}'
        f',"first_byte_ms":{"null" if first_byte is None else f"{first_byte * 1000.0:.3f}"}'
        f',"request_body":{record.request_body},"response_body":{record.response_body}'
        f',"referer":{"null" if referer is None else _known_json(referer)}'
        f',"user_agent":{"null" if user_agent is None else _known_json(user_agent)}'
    )


@functools.lru_cache(maxsize=512)
def _usual_text(key: _Usual) -> str:
    (method, host, version, status), (route, pool, reused, user) = key
    return (
        f" method={optional(method or None, bare_or_quoted, '-')}"
        f" host={optional(host, bare_or_quoted, '-')}"
        f" version={optional(version or None, bare_or_quoted, '-')}"
        f" status={status or '-'} route={optional(route, bare_or_quoted, '-')}"
        f" pool={optional(pool, bare_or_quoted, '-')} reused={'yes' if reused else 'no'}"
        f" user={optional(user, bare_or_quoted, '-')}"
    )


@functools.lru_cache(maxsize=512)
def _usual_json(key: _Usual) -> str:
    (method, host, version, status), (route, pool, reused, user) = key
    return (
        f',"method":{optional(method or None, quoted, "null")}'
        f',"host":{optional(host, quoted, "null")}'
        f',"version":{optional(version or None, quoted, "null")}'
        f',"status":{status or "null"},"route":{optional(route, quoted, "null")}'
        f',"pool":{optional(pool, quoted, "null")},"reused":{"true" if reused else "false"}'
        f',"user":{optional(user, quoted, "null")}'
    )


_known_text = functools.lru_cache(maxsize=256)(bare_or_quoted)
_known_json = functools.lru_cache(maxsize=256)(quoted)
