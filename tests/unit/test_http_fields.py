"""Fields for one connection, cookies, dates and reasons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.errors import SettingError
from tcpbalance.wire.http.cookie import CookieReader, set_cookie
from tcpbalance.wire.http.dates import http_date
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.fields import expects_continue, keeps_alive, takes_trailers, upgrade
from tcpbalance.wire.http.head import RequestHead
from tcpbalance.wire.http.head_reader import RequestReader
from tcpbalance.wire.http.status import reason


def request(*lines: bytes, version: bytes = b"1.1") -> RequestHead:
    data = (
        b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    )
    head = RequestReader(HeadLimits()).read(data)
    assert head is not None
    return head


@pytest.mark.parametrize(
    ("version", "lines", "alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: X, CLOSE"], False),
        (b"1.1", [b"Connection: X", b"connection: close"], False),
        (b"1.1", [b"Connection: keep-alive"], True),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.1", [b"Proxy-Connection: close"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
        (b"1.0", [b"Keep-Alive: 5"], False),
    ],
)
def test_whether_a_connection_stays_open(version: bytes, lines: list[bytes], alive: bool) -> None:
    assert keeps_alive(request(*lines, version=version)) is alive


@pytest.mark.parametrize(
    ("version", "lines", "protocols"),
    [
        (b"1.1", [b"Connection: Upgrade", b"Upgrade: WebSocket"], [b"websocket"]),
        (b"1.1", [b"Connection: keep-alive, Upgrade", b"Upgrade: h2c, websocket"], [b"h2c", b"websocket"]),
        (b"1.1", [b"Upgrade: websocket"], []),
        (b"1.1", [b"Connection: upgrade"], []),
        (b"1.0", [b"Connection: Upgrade", b"Upgrade: websocket"], []),
    ],
)
def test_upgrades(version: bytes, lines: list[bytes], protocols: list[bytes]) -> None:
    assert upgrade(request(*lines, version=version)) == protocols


def test_long_lists_are_looked_at_in_part() -> None:
    head = request(b"Connection: " + b"a, " * 99 + b"b, c")
    assert head.options == {b"a", b"b"}


def test_expectations() -> None:
    assert not expects_continue(request())
    assert expects_continue(request(b"Expect: 100-CONTINUE"))
    assert not expects_continue(request(b"Expect: 100-continue", version=b"1.0"))


def test_trailers() -> None:
    assert not takes_trailers(request())
    assert not takes_trailers(request(b"TE: gzip"))
    assert takes_trailers(request(b"TE: gzip;q=0.5, Trailers"))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        ([b"a=1"], b"1"),
        ([b"b=2; a=1"], b"1"),
        ([b"b=2;a=1;c=3"], b"1"),
        ([b"b=2; a = 1 ; c=3"], b"1"),
        ([b"ba=2; a.b=3; xa=1"], None),
        ([b"b=a=1"], None),
        ([b"A=1"], None),
        ([b"a=1; a=2"], b"1"),
        ([b"b=2", b"a=1"], b"1"),
        ([b'a="1"'], b"1"),
        ([b"a="], b""),
        ([b"a"], None),
        ([b"a=b=c"], b"b=c"),
        ([b";;a=1"], b"1"),
    ],
)
def test_one_cookie_is_found(values: list[bytes], found: bytes | None) -> None:
    head = request(
        b"X: y",
        *(b"cOOkie:" + value for value in values),
        b"Set-Cookie: a=5",
        b"Not-Cookie: a=6",
        b"X-Last: a=7",
    )
    assert CookieReader(b"a").read(head) == found


def test_a_cookie_is_written() -> None:
    assert set_cookie(b"a", b"1") == b"Set-Cookie: a=1; Path=/; HttpOnly; SameSite=Lax\r\n"
    assert (
        set_cookie(b"a", b"", path=b"/b", max_age=60, secure=True, http_only=False, same_site=None)
        == b"Set-Cookie: a=; Path=/b; Max-Age=60; Secure\r\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [(b"a b", b"", b"/"), (b"a", b"x;y", b"/"), (b"a", b"\r", b"/"), (b"a", b"", b";")],
)
def test_what_is_no_cookie(name: bytes, value: bytes, path: bytes) -> None:
    with pytest.raises(SettingError):
        set_cookie(name, value, path=path)


NAMES = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=8).map(str.encode)
COOKIES = st.lists(st.tuples(NAMES, st.text("!#+-.:<=>@[]^_~09azAZ", max_size=8).map(str.encode)), max_size=5)


@given(COOKIES, COOKIES, NAMES)
def test_any_cookie(one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]], name: bytes) -> None:
    lines = [b"Cookie: " + b"; ".join(b"%b=%b" % cookie for cookie in cookies) for cookies in (one, other)]
    cookies = dict(reversed(one + other))
    for sought in {name, *cookies}:
        assert CookieReader(sought).read(request(*lines)) == cookies.get(sought)
    for sought, value in cookies.items():
        line = set_cookie(sought, value, secure=True)
        assert line.split(b"; ")[0] == b"Set-Cookie: %b=%b" % (sought, value)


def test_what_is_no_name_of_a_cookie() -> None:
    with pytest.raises(SettingError):
        CookieReader(b"a=b")


def test_dates_and_reasons() -> None:
    assert http_date(784111777.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert (reason(404), reason(418), reason(599)) == (b"Not Found", b"I'm a Teapot", b"")
