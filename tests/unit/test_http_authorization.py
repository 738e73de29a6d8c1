"""Credentials of the scheme Basic."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.wire.http.authorization import MAX_CREDENTIALS, basic_challenge, read_basic


def basic(text: bytes, scheme: bytes = b"Basic ") -> list[bytes]:
    return [scheme + b64encode(text)]


def test_a_name_and_a_password_are_read() -> None:
    assert read_basic(basic(b"alice:open sesame")) == (b"alice", b"open sesame")
    assert read_basic(basic(b"alice:a:b", b"bASIC   ")) == (b"alice", b"a:b")
    assert read_basic(basic(b":")) == (b"", b"")
    assert read_basic(basic("j\u00f6rg:\u00fc".encode())) == ("j\u00f6rg".encode(), "\u00fc".encode())


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        [b""],
        [b"Basic"],
        [b"Basic "],
        [b"Basic !"],
        [b"Basic YWxpY2U6eA"],  # without its padding
        [b"Basic YWxpY2U6eA==="],
        [b"Basic YWxpY2U6eA== x"],
        [b"Bearer YWxpY2U6eA=="],
        basic(b"alice"),
        basic(b"alice:x\0"),
        basic(b"ali\nce:x"),
        basic(b"a:b") * 2,
        basic(b"a:" + b"x" * MAX_CREDENTIALS),
    ],
)
def test_anything_else_is_none(values: list[bytes] | None) -> None:
    assert read_basic(values) is None


@given(st.binary(max_size=60))
def test_any_value_is_credentials_or_none(value: bytes) -> None:
    for values in ([value], basic(value)):
        found = read_basic(values)
        assert found is None or b":" not in found.name


def test_the_challenge_names_a_realm() -> None:
    assert basic_challenge("tcpbalance") == b'Basic realm="tcpbalance", charset="UTF-8"'
