"""Lines in Apache's combined format are read as what they were made of, whatever a client sends."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.log_lines import HOSTILE
from support.records import record, request
from tcpbalance.logs.combined import combined_line
from tcpbalance.logs.log_format import with_worker

TEXT = r'"((?:[^"\\]|\\.)*)"'
LINE = re.compile(rf"(\S+) - (\S+) \[([^]]+)\] {TEXT} (\d{{3}}) (\d+) {TEXT} {TEXT}")
LATIN_1 = st.text(st.characters(max_codepoint=255), min_size=1)


def read(line: str) -> list[str]:
    """Read a line as programs do."""
    assert re.fullmatch(r"[ -~]+", line)
    found = LINE.fullmatch(line)
    assert found is not None, line
    return [re.sub(r"\\(?:x([0-9a-f]{2})|(.))", unescaped, part) for part in found.groups()]


def unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else found[2]


def test_a_line() -> None:
    assert combined_line(request()) == (
        '192.0.2.7 - - [04/May/2026:09:12:33 +0000] "GET /shop/item?id=7 HTTP/1.1" 200 17980'
        ' "https://www.example.com/shop"'
        ' "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"'
    )


def test_what_there_is_not() -> None:
    shown = request(
        method="", target="", version="", status=0, response_body=0, referer=None, user_agent=None
    )
    assert combined_line(shown).endswith('] "-" 499 0 "-" "-"')


def test_a_session_has_no_line() -> None:
    assert combined_line(record()) == ""
    assert with_worker(combined_line, 3)(record()) == ""


def test_a_worker_has_no_place_in_it() -> None:
    assert with_worker(combined_line, 3)(request()) == combined_line(request())


@pytest.mark.parametrize(
    ("client", "host"),
    [
        ("192.0.2.7:51324", "192.0.2.7"),
        ("[2001:db8::7]:51324", "2001:db8::7"),
        ("unix:", "unix:"),
        ("unix:/run/client socket", "unix:"),
        ("", "-"),
        ("a b", "-"),
        ("a b:1", r"a\x20b"),
    ],
)
def test_the_client_is_its_address_alone(client: str, host: str) -> None:
    assert combined_line(request(client=client)).startswith(f"{host} - - [")


def test_text_is_escaped_as_apache_does() -> None:
    line = combined_line(request(target='/"\\\x00\n\x7f\xe9', user_agent="\u2028\udc80"))
    assert r'"GET /\"\\\x00\x0a\x7f\xe9 HTTP/1.1"' in line
    assert line.endswith(r'"\xe2\x80\xa8\xed\xb2\x80"')


@pytest.mark.parametrize("field", ["client", "method", "target", "version", "referer", "user_agent", "user"])
def test_no_field_breaks_the_line(field: str) -> None:
    read(combined_line(request(**{field: HOSTILE})))


@settings(max_examples=300)
@given(
    st.floats(min_value=0, max_value=253402300799),
    st.sampled_from([100, 200, 404, 503]),
    st.integers(0),
    st.tuples(LATIN_1, LATIN_1, LATIN_1),
    st.none() | LATIN_1,
    st.none() | LATIN_1,
)
def test_it_can_be_read_back(
    started: float,
    status: int,
    size: int,
    request_line: tuple[str, str, str],
    referer: str | None,
    user_agent: str | None,
) -> None:
    method, target, version = request_line
    shown = request(
        started=started,
        method=method,
        target=target,
        version=version,
        status=status,
        response_body=size,
        referer=referer,
        user_agent=user_agent,
    )
    host, user, time, first, *rest = read(combined_line(shown))
    assert (host, user) == ("192.0.2.7", "-")
    assert datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z") == datetime.fromtimestamp(int(started), UTC)
    assert first == f"{method} {target} HTTP/{version}"
    assert rest == [str(status), str(size), referer or "-", user_agent or "-"]


@given(LATIN_1)
def test_the_user_of_a_tunnel_stands_in_its_field(user: str) -> None:
    assert read(combined_line(request(user=user)))[1] == user
