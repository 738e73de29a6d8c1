"""The lines of Apache's combined log format, which most programs that read logs of web servers know.

Source: Apache HTTP Server 2.4, mod_log_config, "Custom Log Formats". What has no place in it is left out;
text that would not stay in its quotes is escaped as Apache does, with a backslash or as ``\\xhh``.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tcpbalance.http.record import RequestRecord

if TYPE_CHECKING:
    from tcpbalance.proxy.record import SessionRecord

CLIENT_GONE: Final = 499
"""The status where the client was sent none; as nginx has it, because readers refuse lines without one."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_needs_escape = re.compile(r"[^ !#-\[\]-~]").search
_escape = re.compile(r"[^ !#-\[\]-~]").sub


def combined_line(record: SessionRecord) -> str:
    """Give the line of a request.

    :returns: the line, without an end of line; nothing for a session, which is no request.
    """
    if not isinstance(record, RequestRecord):
        return ""
    method, referer, user_agent, user = record.method, record.referer, record.user_agent, record.user
    request = f"{method} {record.target} HTTP/{record.version}" if method else "-"
    return (
        f"{_host(record.client)} - {'-' if user is None else _escaped_user(user)}"
        f" [{_time(int(record.started))}]"
        f' "{request if _needs_escape(request) is None else _escaped(request)}"'
        f" {record.status or CLIENT_GONE} {record.response_body}"
        f' "{"-" if referer is None else referer if _needs_escape(referer) is None else _escaped(referer)}"'
        f' "{"-" if user_agent is None else _escaped_name(user_agent)}"'
    )


def _host(client: str) -> str:
    """Give the address of a client without its port."""
    if client.startswith("unix:"):
        return "unix:"
    return _escaped(client.rpartition(":")[0].strip("[]")).replace(" ", r"\x20") or "-"


@functools.lru_cache(maxsize=64)
def _time(seconds: int) -> str:
    """Give whole seconds since the epoch; the same for many lines."""
    time = datetime.fromtimestamp(seconds, UTC)
    return f"{time.day:02}/{_MONTHS[time.month - 1]}/{time.year:04}:{time:%H:%M:%S} +0000"


def _escaped_user(user: str) -> str:
    return _escaped(user).replace(" ", r"\x20") or "-"


def _escaped(text: str) -> str:
    return _escape(_escaped_character, text)


def _escaped_character(found: re.Match[str]) -> str:
    character = found[0]
    if character in '"\\':
        return f"\\{character}"
    code = "latin-1" if ord(character) < 256 else "utf-8"
    return "".join([f"\\x{byte:02x}" for byte in character.encode(code, "surrogatepass")])


# Those of browsers are few and come again with each request.
_escaped_name = functools.lru_cache(maxsize=256)(_escaped)
