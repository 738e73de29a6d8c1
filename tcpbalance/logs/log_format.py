"""What a line of the access log looks like: pure functions from a session record to text.

Both forms have the same keys in the same order, and both are ASCII: whatever a name or a path contains, a
line stays one line. docs/reference/log-format.md is the description that operators read. The lines are
spelled out because formatting takes time from the traffic: a table of fields takes three times as long. Most
end in the same words, which are not made anew.
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
    started, backend, connect, reason = f"{record.started:.3f}", record.backend, record.connect, record.reason
    name = "-" if backend is None else _bare_or_quoted_name(backend)
    if not _is_usual(record):
        more = _more_text(record)
    elif (facts := record.tls) is None:
        more = f" cause=- tried={name}{_NO_MORE_TEXT}"
    else:
        rest = _usual_tls_text(record.server_name, facts.version, facts.cipher)
        more = f" cause=- tried={name}{rest}"
    return (
        f"start={_to_the_second(started[:-4])}{started[-4:]}Z client={_bare_or_quoted(record.client)}"
        f" frontend={_bare_or_quoted_name(record.frontend)} backend={name}"
        f" attempts={record.attempts} wait_ms={record.wait * 1000.0:.3f}"
        f" connect_ms={'-' if connect is None else f'{connect * 1000.0:.3f}'}"
        f" total_ms={record.total * 1000.0:.3f}"
        f" client_bytes={record.client_bytes} backend_bytes={record.backend_bytes}"
        f" closed_by={reason.closer} reason={reason.word}{more}"
    )


def json_line(record: SessionRecord) -> str:
    """Give a record as one JSON object with every key always there.

    :returns: the line, without an end of line.
    """
    started, backend, connect, reason = f"{record.started:.3f}", record.backend, record.connect, record.reason
    name = "null" if backend is None else _quoted_name(backend)
    tried = f'[{{"backend":{name},"cause":null}}]'
    if not _is_usual(record):
        more = _more_json(record)
    elif (facts := record.tls) is None:
        more = f',"cause":null,"tried":{tried}{_NO_MORE_JSON}'
    else:
        rest = _usual_tls_json(record.server_name, facts.version, facts.cipher)
        more = f',"cause":null,"tried":{tried}{rest}'
    return (
        f'{{"start":"{_to_the_second(started[:-4])}{started[-4:]}Z","client":{_quoted(record.client)}'
        f',"frontend":{_quoted_name(record.frontend)},"backend":{name}'
        f',"attempts":{record.attempts},"wait_ms":{record.wait * 1000.0:.3f}'
        f',"connect_ms":{"null" if connect is None else f"{connect * 1000.0:.3f}"}'
        f',"total_ms":{record.total * 1000.0:.3f}'
        f',"client_bytes":{record.client_bytes},"backend_bytes":{record.backend_bytes}'
        f',"closed_by":"{reason.closer}","reason":"{reason.word}"{more}'
    )


def with_worker(line: Callable[[SessionRecord], str], worker: int) -> Callable[[SessionRecord], str]:
    """Give what makes the same lines with the number of the worker that had the session as their last key.

    :param line: one of `FORMATS`.
    """
    if line is json_line:
        return lambda record: f'{json_line(record)[:-1]},"worker":{worker}}}'
    return lambda record: f"{line(record)} worker={worker}"


FORMATS: Final[Mapping[str, Callable[[SessionRecord], str]]] = {"text": text_line, "json": json_line}


_NO_MORE_TEXT: Final = " proxy=- server_name=- unique_id=- tls_version=- tls_cipher=- tls_client=-"
_NO_MORE_JSON: Final = (
    ',"proxy":null,"server_name":null,"unique_id":null'
    ',"tls_version":null,"tls_cipher":null,"tls_client":null}'
)


def _is_usual(record: SessionRecord) -> bool:
    """Whether the rest of a line is the same as that of many others: the first attempt reached the backend,
    and the client was asked for nothing, or for no more than TLS without a certificate of its own."""
    facts = record.tls
    return (
        not (record.cause or record.failures)
        and record.backend is not None
        and record.attempts > 0
        and record.proxy is None
        and record.unique_id is None
        and (record.server_name is None if facts is None else facts.subject is None)
    )


@functools.lru_cache(maxsize=1024)
def _usual_tls_text(server_name: str | None, version: str, cipher: str) -> str:
    return (
        f" proxy=- server_name={_optional(server_name, _bare_or_quoted, '-')} unique_id=-"
        f" tls_version={version} tls_cipher={_bare_or_quoted(cipher)} tls_client=-"
    )


@functools.lru_cache(maxsize=1024)
def _usual_tls_json(server_name: str | None, version: str, cipher: str) -> str:
    return (
        f',"proxy":null,"server_name":{_optional(server_name, _quoted, "null")},"unique_id":null'
        f',"tls_version":"{version}","tls_cipher":{_quoted(cipher)},"tls_client":null}}'
    )


def _more_text(record: SessionRecord) -> str:
    return (
        f" cause={_optional(record.cause or None, _bare_or_quoted_name, '-')}"
        f" tried={_tried_text(record)}"
        f" proxy={_optional(record.proxy, _bare_or_quoted, '-')}"
        f" server_name={_optional(record.server_name, _bare_or_quoted, '-')}"
        f" unique_id={_optional(record.unique_id, _bare_or_quoted, '-')}"
        f"{_tls_text(record.tls)}"
    )


def _more_json(record: SessionRecord) -> str:
    return (
        f',"cause":{_optional(record.cause or None, _quoted_name, "null")}'
        f',"tried":{_tried_json(record)}'
        f',"proxy":{_optional(record.proxy, _quoted, "null")}'
        f',"server_name":{_optional(record.server_name, _quoted, "null")}'
        f',"unique_id":{_optional(record.unique_id, _quoted, "null")}{_tls_json(record.tls)}}}'
    )


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


@functools.lru_cache(maxsize=64)
def _to_the_second(seconds: str) -> str:
    """Give whole seconds since the epoch in ISO 8601, UTC: the same for many lines."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()[:19]


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
