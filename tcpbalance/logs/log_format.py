"""What a line of the access log looks like: pure functions from a record to text.

Text and JSON have the same keys in the same order, and all forms are ASCII: whatever a name or a path
contains, a line stays one line. docs/reference/log-format.md is the description that operators read. The
lines are spelled out because formatting takes time from the traffic: a table of fields takes three times as
long. Most end in the same words, which are not made anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tcpbalance.http.record import RequestRecord
from tcpbalance.logs.combined import combined_line
from tcpbalance.logs.quoting import bare_or_quoted, bare_or_quoted_name, optional, quoted, quoted_name
from tcpbalance.logs.request_format import request_json, request_text

if TYPE_CHECKING:
    from tcpbalance.net.tls.facts import TlsFacts
    from tcpbalance.proxy.record import SessionRecord


def text_line(record: SessionRecord) -> str:
    """Give a record as `key=value` pairs separated by one space.

    :returns: the line, without an end of line.
    """
    started, backend, connect, reason = f"{record.started:.3f}", record.backend, record.connect, record.reason
    name = "-" if backend is None else bare_or_quoted_name(backend)
    if not _is_usual(record):
        more = _more_text(record)
    elif (facts := record.tls) is None:
        more = f" cause=- tried={name}{_NO_MORE_TEXT}"
    else:
        rest = _usual_tls_text(record.server_name, facts.version, facts.cipher)
        more = f" cause=- tried={name}{rest}"
    line = (
        f"start={_to_the_second(started[:-4])}{started[-4:]}Z client={bare_or_quoted(record.client)}"
        f" frontend={bare_or_quoted_name(record.frontend)} backend={name}"
        f" attempts={record.attempts} wait_ms={record.wait * 1000.0:.3f}"
        f" connect_ms={'-' if connect is None else f'{connect * 1000.0:.3f}'}"
        f" total_ms={record.total * 1000.0:.3f}"
        f" client_bytes={record.client_bytes} backend_bytes={record.backend_bytes}"
        f" closed_by={reason.closer} reason={reason.word}{more}"
    )
    return f"{line}{request_text(record)}" if isinstance(record, RequestRecord) else line


def json_line(record: SessionRecord) -> str:
    """Give a record as one JSON object with every key always there.

    :returns: the line, without an end of line.
    """
    started, backend, connect, reason = f"{record.started:.3f}", record.backend, record.connect, record.reason
    name = "null" if backend is None else quoted_name(backend)
    tried = f'[{{"backend":{name},"cause":null}}]'
    if not _is_usual(record):
        more = _more_json(record)
    elif (facts := record.tls) is None:
        more = f',"cause":null,"tried":{tried}{_NO_MORE_JSON}'
    else:
        rest = _usual_tls_json(record.server_name, facts.version, facts.cipher)
        more = f',"cause":null,"tried":{tried}{rest}'
    line = (
        f'{{"start":"{_to_the_second(started[:-4])}{started[-4:]}Z","client":{quoted(record.client)}'
        f',"frontend":{quoted_name(record.frontend)},"backend":{name}'
        f',"attempts":{record.attempts},"wait_ms":{record.wait * 1000.0:.3f}'
        f',"connect_ms":{"null" if connect is None else f"{connect * 1000.0:.3f}"}'
        f',"total_ms":{record.total * 1000.0:.3f}'
        f',"client_bytes":{record.client_bytes},"backend_bytes":{record.backend_bytes}'
        f',"closed_by":"{reason.closer}","reason":"{reason.word}"{more}'
    )
    return f"{line[:-1]}{request_json(record)}}}" if isinstance(record, RequestRecord) else line


def with_worker(line: Callable[[SessionRecord], str], worker: int) -> Callable[[SessionRecord], str]:
    """Give what makes the same lines with the number of the worker that had the session as their last key.

    :param line: one of `FORMATS`; the combined form has no place for it, and stays as it is.
    """
    if line is combined_line:
        return line
    if line is json_line:
        return lambda record: f'{json_line(record)[:-1]},"worker":{worker}}}'
    return lambda record: f"{line(record)} worker={worker}"


FORMATS: Final[Mapping[str, Callable[[SessionRecord], str]]] = {
    "text": text_line,
    "json": json_line,
    "combined": combined_line,
}
"""What makes a line of a record, by the name of the form: an empty line where the form has none for it."""


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
        f" proxy=- server_name={optional(server_name, bare_or_quoted, '-')} unique_id=-"
        f" tls_version={version} tls_cipher={bare_or_quoted(cipher)} tls_client=-"
    )


@functools.lru_cache(maxsize=1024)
def _usual_tls_json(server_name: str | None, version: str, cipher: str) -> str:
    return (
        f',"proxy":null,"server_name":{optional(server_name, quoted, "null")},"unique_id":null'
        f',"tls_version":"{version}","tls_cipher":{quoted(cipher)},"tls_client":null}}'
    )


def _more_text(record: SessionRecord) -> str:
    return (
        f" cause={optional(record.cause or None, bare_or_quoted_name, '-')}"
        f" tried={_tried_text(record)}"
        f" proxy={optional(record.proxy, bare_or_quoted, '-')}"
        f" server_name={optional(record.server_name, bare_or_quoted, '-')}"
        f" unique_id={optional(record.unique_id, bare_or_quoted, '-')}"
        f"{_tls_text(record.tls)}"
    )


def _more_json(record: SessionRecord) -> str:
    return (
        f',"cause":{optional(record.cause or None, quoted_name, "null")}'
        f',"tried":{_tried_json(record)}'
        f',"proxy":{optional(record.proxy, quoted, "null")}'
        f',"server_name":{optional(record.server_name, quoted, "null")}'
        f',"unique_id":{optional(record.unique_id, quoted, "null")}{_tls_json(record.tls)}}}'
    )


def _tried_text(record: SessionRecord) -> str:
    if not record.failures:
        return optional(record.backend if record.attempts else None, bare_or_quoted_name, "-")
    tried = [f"{name}:{cause}" for name, cause in record.failures]
    if record.succeeded and record.backend is not None:
        tried.append(record.backend)
    return bare_or_quoted(",".join(tried))


def _tried_json(record: SessionRecord) -> str:
    tried = [
        f'{{"backend":{quoted_name(name)},"cause":{quoted_name(cause)}}}' for name, cause in record.failures
    ]
    if record.succeeded and record.backend is not None:
        tried.append(f'{{"backend":{quoted_name(record.backend)},"cause":null}}')
    return f"[{','.join(tried)}]"


def _tls_text(facts: TlsFacts | None) -> str:
    if facts is None:
        return " tls_version=- tls_cipher=- tls_client=-"
    return (
        f" tls_version={facts.version} tls_cipher={bare_or_quoted_name(facts.cipher)}"
        f" tls_client={optional(facts.subject, bare_or_quoted, '-')}"
    )


def _tls_json(facts: TlsFacts | None) -> str:
    if facts is None:
        return ',"tls_version":null,"tls_cipher":null,"tls_client":null'
    return (
        f',"tls_version":"{facts.version}","tls_cipher":{quoted_name(facts.cipher)}'
        f',"tls_client":{optional(facts.subject, quoted, "null")}'
    )


@functools.lru_cache(maxsize=64)
def _to_the_second(seconds: str) -> str:
    """Give whole seconds since the epoch in ISO 8601, UTC: the same for many lines."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()[:19]
