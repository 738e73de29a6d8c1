"""Lines of the access log as docs/reference/log-format.md has them: read, and made in the general way."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from support.records import tls
from tcpbalance.http.record import RequestRecord
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord

KEYS = [
    "start",
    "client",
    "frontend",
    "backend",
    "attempts",
    "wait_ms",
    "connect_ms",
    "total_ms",
    "client_bytes",
    "backend_bytes",
    "closed_by",
    "reason",
    "cause",
    "tried",
    "proxy",
    "server_name",
    "unique_id",
    "tls_version",
    "tls_cipher",
    "tls_client",
]
REQUEST_KEYS = [
    "method",
    "host",
    "version",
    "status",
    "route",
    "pool",
    "reused",
    "user",
    "target",
    "request_id",
    "head_ms",
    "first_byte_ms",
    "request_body",
    "response_body",
    "referer",
    "user_agent",
]
"""Those that follow in the line of a request."""

PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "\\=]*)')
HOSTILE = 'a b="c"\nstart=1 \\ \r\t\x00\x1b[31m\x7f\x85\u2028é\udc80'


def pairs(line: str) -> dict[str, str]:
    """Read a text line as docs/reference/log-format.md says: `key=value`, quoted values are JSON strings."""
    found = PAIR.findall(line)
    assert " ".join(f"{key}={value}" for key, value in found) == line
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found}


def values(record: SessionRecord) -> dict[str, Any]:
    """Give what a line says, by key: None for nothing, a float for milliseconds."""
    served = [record.backend] if record.succeeded and record.backend is not None else []
    facts = record.tls
    written = [
        datetime.fromtimestamp(int(f"{record.started:.3f}"[:-4]), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        + f"{record.started:.3f}"[-4:]
        + "Z",
        record.client,
        record.frontend,
        record.backend,
        record.attempts,
        record.wait * 1000.0,
        None if record.connect is None else record.connect * 1000.0,
        record.total * 1000.0,
        record.client_bytes,
        record.backend_bytes,
        record.reason.closer,
        record.reason.word,
        record.cause or None,
        [(name, cause) for name, cause in record.failures] + [(name, None) for name in served],
        record.proxy,
        record.server_name,
        record.unique_id,
        None if facts is None else facts.version,
        None if facts is None else facts.cipher,
        None if facts is None else facts.subject,
    ]
    fields = dict(zip(KEYS, written, strict=True))
    return {**fields, **request_values(record)} if isinstance(record, RequestRecord) else fields


def request_values(record: RequestRecord) -> dict[str, Any]:
    """Give what the line of a request says beside that."""
    written = [
        record.method or None,
        record.host,
        record.version or None,
        record.status or None,
        record.route,
        record.pool,
        record.reused,
        record.user,
        record.target or None,
        record.request_id,
        None if record.head is None else record.head * 1000.0,
        None if record.first_byte is None else record.first_byte * 1000.0,
        record.request_body,
        record.response_body,
        record.referer,
        record.user_agent,
    ]
    return dict(zip(REQUEST_KEYS, written, strict=True))


def as_text(value: Any) -> str:
    """Write a value in the text form."""
    if isinstance(value, list):
        tried = [name if cause is None else f"{name}:{cause}" for name, cause in value]
        value = ",".join(tried) if tried else None
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if re.fullmatch(r"[!#-<>-\[\]-~]+", text) and text != "-" else as_json(text)


def as_json(value: Any) -> str:
    """Write a value as JSON."""
    if isinstance(value, list):
        tried = [f'{{"backend":{as_json(name)},"cause":{as_json(cause)}}}' for name, cause in value]
        return f"[{','.join(tried)}]"
    return f"{value:.3f}" if isinstance(value, float) else json.dumps(value).replace("\x7f", "\\u007f")


def text_form(fields: dict[str, Any]) -> str:
    """Write a line in the text form."""
    return " ".join(f"{key}={as_text(value)}" for key, value in fields.items())


def json_form(fields: dict[str, Any]) -> str:
    """Write a line as JSON."""
    members = [f'"{key}":{as_json(value)}' for key, value in fields.items()]
    return f"{{{','.join(members)}}}"


NAMES = st.sampled_from(["-", "", "web", "a b", "b=c", "é", "\x7f", "unix:/run/app.sock"])
SECONDS = st.floats(min_value=0, max_value=1e6) | st.sampled_from([0.0, 0.0000005, 0.0625, 999.9999995])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "started": st.floats(min_value=0, max_value=253402300799) | st.sampled_from([0.0, 1777885953.9996]),
    "client": NAMES,
    "frontend": NAMES,
    "backend": st.none() | NAMES,
    "attempts": st.integers(0, 3),
    "wait": SECONDS,
    "connect": st.none() | SECONDS,
    "total": SECONDS,
    "client_bytes": st.integers(0),
    "backend_bytes": st.integers(0),
    "reason": st.sampled_from(EndReason),
    "cause": st.just("") | NAMES,
    "proxy": st.none() | NAMES,
    "server_name": st.none() | NAMES,
    "unique_id": st.none() | NAMES,
    "tls": st.none() | st.builds(tls, cipher=NAMES, subject=st.none() | NAMES),
    "failures": st.just(()) | st.lists(st.tuples(NAMES, NAMES), max_size=2),
}
REQUEST_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "method": st.just("") | NAMES,
    "host": st.none() | NAMES,
    "target": st.just("") | NAMES,
    "version": st.just("") | NAMES,
    "status": st.sampled_from([0, 101, 200, 503]),
    "route": st.none() | NAMES,
    "pool": st.none() | NAMES,
    "request_id": st.none() | NAMES,
    "head": st.none() | SECONDS,
    "first_byte": st.none() | SECONDS,
    "request_body": st.integers(0),
    "response_body": st.integers(0),
    "reused": st.booleans(),
    "referer": st.none() | NAMES,
    "user_agent": st.none() | NAMES,
    "user": st.none() | NAMES,
}
