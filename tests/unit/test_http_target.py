"""What a request is for: its target, its host, and the path that routes look at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.errors import BadRequest
from tcpbalance.wire.http.head_reader import RequestReader
from tcpbalance.wire.http.routing_path import is_plain_path, routing_path
from tcpbalance.wire.http.target import (
    RequestTarget,
    TargetForm,
    read_authority,
    read_target,
    without_prefix,
)


def target(line: bytes, host: bytes | None = b"Host.Example:8080", version: bytes = b"1.1") -> RequestTarget:
    data = (
        line + b" HTTP/" + version + b"\r\n" + (b"Host: %b\r\n" % host if host is not None else b"") + b"\r\n"
    )
    head = RequestReader(HeadLimits()).read(data)
    assert head is not None
    return read_target(head)


def test_the_usual_form() -> None:
    found = target(b"GET /a/%7eb?c=/d?")
    assert (found.form, found.upstream, found.path) == (TargetForm.ORIGIN, b"/a/%7eb?c=/d?", b"/a/%7eb")
    assert found.authority is not None
    assert (found.authority.text, found.authority.host, found.authority.port) == (
        b"Host.Example:8080",
        b"host.example",
        8080,
    )


@pytest.mark.parametrize(
    ("line", "upstream", "path"),
    [
        (b"GET http://A.example:81", b"/", b"/"),
        (b"GET http://A.example:81/", b"/", b"/"),
        (b"GET https://A.example:81/b?c", b"/b?c", b"/b"),
        (b"GET HTTP://A.example:81?c/d", b"/?c/d", b"/"),
        (b"OPTIONS http://A.example:81", b"*", b"*"),
        (b"OPTIONS http://A.example:81/", b"/", b"/"),
    ],
)
def test_the_host_of_an_absolute_form_wins(line: bytes, upstream: bytes, path: bytes) -> None:
    found = target(line)
    assert (found.form, found.upstream, found.path) == (TargetForm.ABSOLUTE, upstream, path)
    assert found.authority is not None
    assert (found.authority.host, found.authority.port, found.authority.text) == (
        b"a.example",
        81,
        b"A.example:81",
    )


def test_the_other_forms() -> None:
    found = target(b"CONNECT a.example:443")
    assert (found.form, found.upstream, found.path) == (TargetForm.AUTHORITY, b"a.example:443", b"")
    assert found.authority == read_authority(b"a.example:443")
    assert target(b"OPTIONS *").form is TargetForm.ASTERISK


def test_http_1_0_may_have_no_host() -> None:
    assert target(b"GET /", None, b"1.0").authority is None
    assert target(b"GET http://a/", None, b"1.0").authority == read_authority(b"a")


@pytest.mark.parametrize(
    ("text", "sent", "host", "port"),
    [
        (b"a", b"a", b"a", None),
        (b"A.Example.", b"A.Example.", b"a.example", None),
        (b"a:", b"a", b"a", None),
        (b"a:0080", b"a:0080", b"a", 80),
        (b"192.0.2.1:65535", b"192.0.2.1:65535", b"192.0.2.1", 65535),
        (b"[2001:DB8:0::1]:80", b"[2001:DB8:0::1]:80", b"[2001:db8::1]", 80),
        (b"_x-y~z.local", b"_x-y~z.local", b"_x-y~z.local", None),
    ],
)
def test_hosts(text: bytes, sent: bytes, host: bytes, port: int | None) -> None:
    found = read_authority(text)
    assert (found.text, found.host, found.port) == (sent, host, port)


@pytest.mark.parametrize(
    ("path", "cleaned", "ambiguous"),
    [
        (b"/", b"/", False),
        (b"/a/b.c/", b"/a/b.c/", False),
        (b"/.well-known/x", b"/.well-known/x", False),
        (b"/a%20b%c3%a4", b"/a%20b%C3%A4", False),
        (b"/%61%70i/%7Ex", b"/api/~x", False),
        (b"/...", b"/...", False),
        (b"//", b"/", True),
        (b"//a//b", b"/a/b", True),
        (b"/a/./b", b"/a/b", True),
        (b"/a/../b", b"/b", True),
        (b"/../../b/..", b"/", True),
        (b"/a/b/..", b"/a/", True),
        (b"/a/.", b"/a/", True),
        (b"/a/%2e%2E/b", b"/b", True),
        (b"/a/..;x/b", b"/b", True),
        (b"/a/%2e.;x/b", b"/b", True),
        (b"/a/.;/b", b"/a/b", True),
        (b"/a;x=1/b", b"/a/b", False),
        (b"/a;x=1;y/b;z=%61", b"/a/b", False),
        (b"/a;", b"/a", False),
        (b"/;x", b"/", False),
        (b"/a/;x", b"/a/", False),
        (b"/;x/a", b"/a", True),
        (b"/a/;x/b", b"/a/b", True),
        (b"/a;x=%2f/b", b"/a/b", True),
        (b"/a;\\/b", b"/a/b", True),
        (b"/a%3bx/b", b"/a%3Bx/b", False),
        (b"/a%2fb", b"/a%2Fb", True),
        (b"/a%5cb", b"/a%5Cb", True),
        (b"/a\\b", b"/a\\b", True),
        (b"/a%00", b"/a%00", True),
        (b"/a%", b"/a%", True),
        (b"/a%g1", b"/a%g1", True),
        (b"/%252e%252e/", b"/%252e%252e/", False),
        (b"*", b"*", False),
        (b"", b"", False),
    ],
)
def test_the_path_that_routes_look_at(path: bytes, cleaned: bytes, ambiguous: bool) -> None:
    assert routing_path(path) == (cleaned, ambiguous)


SEGMENTS = st.sampled_from(
    [b"a", b"", b".", b"..", b"%2e", b"%2E%2e", b"%61", b"%2f", b"b;c", b"..;", b"%", b"~", b";", b"%3b"]
)
PARAMETERS = st.sampled_from([b"", b";", b";a", b";a=1;b=2", b";a=.", b";..", b";%61=%20", b";a=%3b"])


@given(st.lists(SEGMENTS, max_size=8))
def test_a_cleaned_path_stays_as_it_is(segments: list[bytes]) -> None:
    cleaned = routing_path(b"/" + b"/".join(segments)).path
    assert routing_path(cleaned).path == cleaned
    assert not {b"", b".", b".."} & set(cleaned.split(b"/")[1:-1])
    assert cleaned.startswith(b"/")
    assert b";" not in cleaned


@given(st.lists(st.tuples(SEGMENTS, PARAMETERS), max_size=8))
def test_parameters_of_segments_change_no_route(segments: list[tuple[bytes, bytes]]) -> None:
    bare = b"".join(b"/" + segment for segment, _ in segments)
    written = b"".join(b"/" + segment + parameters for segment, parameters in segments)
    assert routing_path(written).path == routing_path(bare).path
    assert routing_path(written).ambiguous >= routing_path(bare).ambiguous
    assert is_plain_path(written) <= (routing_path(written) == (written, False))


@given(st.binary())
def test_any_bytes_are_a_path_or_not(path: bytes) -> None:
    routing_path(path)


@given(st.binary(max_size=30))
def test_any_bytes_are_a_host_or_not(text: bytes) -> None:
    try:
        found = read_authority(text)
    except BadRequest:
        return
    assert found.host == found.host.lower()
    assert read_authority(found.text) == found


@pytest.mark.parametrize(
    ("line", "upstream"),
    [
        (b"GET /api", b"/"),
        (b"GET /api?x", b"/?x"),
        (b"GET /api/", b"/"),
        (b"GET /api/b/%2f?x", b"/b/%2f?x"),
        (b"GET /%61pi/b?x", b"/b?x"),
        (b"GET //api/b", b"/b"),
        (b"GET http://h/api/b", b"/b"),
        (b"GET /api/../api/b", b"/b"),
        (b"GET /api/./b/../c", b"/./b/../c"),
        (b"GET /x/../api//b", b"/b"),
        (b"GET /api/..;/api", b"/"),
        (b"GET /api;v=1", b"/"),
        (b"GET /api;v=1?x", b"/?x"),
        (b"GET /api;v=1/", b"/"),
        (b"GET /api;v=1/b;w=2/c?x;y", b"/b;w=2/c?x;y"),
        (b"GET /%61pi/%62;w", b"/%62;w"),
        (b"GET /;v/api/b;w", b"/b"),
    ],
)
def test_a_prefix_is_taken_away(line: bytes, upstream: bytes) -> None:
    assert without_prefix(target(line), b"/api") == upstream


def test_a_prefix_of_several_segments_is_taken_away_with_their_parameters() -> None:
    asked = target(b"GET /api;v=1/v%31;x/b;y/c")
    assert without_prefix(asked, b"/api/v1") == b"/b;y/c"


@given(st.lists(st.tuples(SEGMENTS, PARAMETERS), max_size=6))
def test_without_its_prefix_a_target_leads_to_the_rest_of_the_path(
    segments: list[tuple[bytes, bytes]],
) -> None:
    path = b"/api" + b"".join(b"/" + segment + parameters for segment, parameters in segments)
    cleaned = routing_path(path).path
    if cleaned == b"/api" or cleaned.startswith(b"/api/"):
        left = without_prefix(target(b"GET " + path), b"/api")
        assert left.startswith(b"/")
        assert routing_path(left).path == (cleaned.removeprefix(b"/api") or b"/")
