"""What a line of the access log looks like: pure functions from a session record to text.

Both forms have the same keys in the same order, and both are ASCII: whatever a name or a path contains, a
line stays one line. docs/reference/log-format.md is the description that operators read. The lines are
spelled out because formatting takes time from the traffic: a table of fields takes three times as long.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from tcpbalance.net.tls.facts import TlsFacts
    from tcpbalance.proxy.record import SessionRecord

# What may stand in the text form without quotes: printable ASCII, but not what quoting itself is made of.
_is_bare = re.compile(r"[!#-<>-\[\]-~]+").fullmatch
_encode = json.encoder.encode_basestring_ascii

T = TypeVar("T")


def text_line(record: SessionRecord) -> str:
    """Give a record as `key=value` pairs separated by one space.

    :returns: the line, without an end of line.
    """
    return (
        f"start={_timestamp(record.started)} client={_bare_or_quoted(record.client)}"
        f" frontend={_bare_or_quoted_name(record.frontend)}"
        f" backend={_optional(record.backend, _bare_or_quoted_name, '-')}"
        f" attempts={record.attempts} wait_ms={_milliseconds(record.wait)}"
        f" connect_ms={_optional(record.connect, _milliseconds, '-')} total_ms={_milliseconds(record.total)}"
        f" client_bytes={record.client_bytes} backend_bytes={record.backend_bytes}"
        f" closed_by={record.reason.closer} reason={record.reason.word}"
        f" cause={_optional(record.cause or None, _bare_or_quoted_name, '-')}"
        f" tried={_tried_text(record)}"
        f" proxy={_optional(record.proxy, _bare_or_quoted, '-')}"
        f" server_name={_optional(record.server_name, _bare_or_quoted, '-')}"
        f" unique_id={_optional(record.unique_id, _bare_or_quoted, '-')}"
        f"{_tls_text(record.tls)}"
    )


def json_line(record: SessionRecord) -> str:
    """Give a record as one JSON object with every key always there.

    :returns: the line, without an end of line.
    """
    return (
        f'{{"start":"{_timestamp(record.started)}","client":{_quoted(record.client)}'
        f',"frontend":{_quoted_name(record.frontend)}'
        f',"backend":{_optional(record.backend, _quoted_name, "null")}'
        f',"attempts":{record.attempts},"wait_ms":{_milliseconds(record.wait)}'
        f',"connect_ms":{_optional(record.connect, _milliseconds, "null")}'
        f',"total_ms":{_milliseconds(record.total)}'
        f',"client_bytes":{record.client_bytes},"backend_bytes":{record.backend_bytes}'
        f',"closed_by":"{record.reason.closer}","reason":"{record.reason.word}"'
        f',"cause":{_optional(record.cause or None, _quoted_name, "null")}'
        f',"tried":{_tried_json(record)}'
        f',"proxy":{_optional(record.proxy, _quoted, "null")}'
        f',"server_name":{_optional(record.server_name, _quoted, "null")}'
        f',"unique_id":{_optional(record.unique_id, _quoted, "null")}{_tls_json(record.tls)}}}'
    )


FORMATS: Final[Mapping[str, Callable[[SessionRecord], str]]] = {"text": text_line, "json": json_line}


def _tried_text(record: SessionRecord) -> str:
    if not record.failures:
        return _optional(record.backend if record.attempts else None, _bare_or_quoted_name, "-")
    tried = [f"{name}:{cause}" for name, cause in record.failures]
    if record.succeeded and record.backend is not None:
        tried.append(record.backend)
    return _bare_or_quoted(",".join(tried))


def _tried_json(record: SessionRecord) -> str:
    tried = [
        f'{{"backend":{_quoted_name(name)},"cause":{_quoted_name(cause)}}}' for name, cause in record.failures
    ]
    if record.succeeded and record.backend is not None:
        tried.append(f'{{"backend":{_quoted_name(record.backend)},"cause":null}}')
    return f"[{','.join(tried)}]"


def _tls_text(facts: TlsFacts | None) -> str:
    if facts is None:
        return " tls_version=- tls_cipher=- tls_client=-"
    return (
        f" tls_version={facts.version} tls_cipher={_bare_or_quoted_name(facts.cipher)}"
        f" tls_client={_optional(facts.subject, _bare_or_quoted, '-')}"
    )


def _tls_json(facts: TlsFacts | None) -> str:
    if facts is None:
        return ',"tls_version":null,"tls_cipher":null,"tls_client":null'
    return (
        f',"tls_version":"{facts.version}","tls_cipher":{_quoted_name(facts.cipher)}'
        f',"tls_client":{_optional(facts.subject, _quoted, "null")}'
    )


def _timestamp(seconds: float) -> str:
    """Give seconds since the epoch in ISO 8601, UTC, with milliseconds."""
    whole, _, milliseconds = f"{seconds:.3f}".partition(".")
    return f"{_to_the_second(whole)}.{milliseconds}Z"


@functools.lru_cache(maxsize=64)
def _to_the_second(seconds: str) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()[:19]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000.0:.3f}"


def _optional(value: T | None, form: Callable[[T], str], absent: str) -> str:
    return absent if value is None else form(value)


def _bare_or_quoted(value: str) -> str:
    return value if _is_bare(value) and value != "-" else _quoted(value)


def _quoted(value: str) -> str:
    """Give a JSON string; DEL is the one control character that JSON lets stand as it is."""
    return _encode(value).replace("\x7f", "\\u007f")


# Names of frontends and backends, and causes, are few and come again with each connection.
_bare_or_quoted_name = functools.lru_cache(maxsize=1024)(_bare_or_quoted)
_quoted_name = functools.lru_cache(maxsize=1024)(_quoted)
