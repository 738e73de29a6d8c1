"""What the admin side refuses: foreign hosts, pages of other sites, and requests without the token."""

from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.control.api_request import ApiError, ApiRequest
from tcpbalance.control.guard import Guard

FULL, READ_ONLY = b"full-0123456789abcdef", b"read-0123456789abcdef"


@frozen
class Known:
    """Tokens."""

    full: bytes | None = FULL
    read_only: bytes | None = READ_ONLY


def asked(method: str = "GET", **headers: str) -> ApiRequest:
    given = {"host": "127.0.0.1:9000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return ApiRequest(method=method, path="/", headers=given)


def change(**headers: str) -> ApiRequest:
    return asked("PATCH", **{"content_type": "application/json", **headers})


def refused(request: ApiRequest, guard: Guard) -> str:
    """Why a request is refused; empty where it is not."""
    try:
        guard.check(request)
        guard.check_token(request)
    except ApiError as error:
        return error.code
    return ""


OPEN = Guard(Known(None, None), ["lb.internal"])
CLOSED = Guard(Known())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9000",
        "127.0.0.1",
        "[::1]:9000",
        "localhost",
        "localhost:9000",
        "LOCALHOST",
        "lb.internal:80",
    ],
)
def test_a_host_that_cannot_be_another_site_is_served(host: str) -> None:
    assert refused(asked(host=host), OPEN) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:9000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "a b",
        "::1",
    ],
)
def test_any_other_host_is_refused(host: str) -> None:
    assert refused(asked(host=host), OPEN) == "host_not_known"


@given(st.text(max_size=40))
def test_no_host_raises_anything_else(host: str) -> None:
    assert refused(asked(host=host), OPEN) in ("", "host_not_known")


def test_a_change_needs_json() -> None:
    assert refused(change(), OPEN) == ""
    assert refused(change(content_type="application/json; charset=utf-8"), OPEN) == ""
    assert refused(asked("PATCH"), OPEN) == "not_json"
    assert refused(change(content_type="text/plain"), OPEN) == "not_json"
    assert refused(asked("DELETE"), OPEN) == "not_json"


def test_a_page_of_another_site_changes_nothing() -> None:
    assert refused(change(origin="http://127.0.0.1:9000", sec_fetch_site="same-origin"), OPEN) == ""
    assert refused(change(origin="http://evil.example"), OPEN) == "foreign_origin"
    assert refused(change(origin="http://127.0.0.1:9001"), OPEN) == "foreign_origin"
    assert refused(change(origin="null"), OPEN) == "foreign_origin"
    assert refused(change(sec_fetch_site="cross-site"), OPEN) == "foreign_origin"
    assert refused(change(sec_fetch_site="same-site"), OPEN) == "foreign_origin"


def test_an_origin_that_is_no_address_is_foreign() -> None:
    assert refused(change(origin="http://[::1"), OPEN) == "foreign_origin"


def test_without_a_token_nothing_is_served_where_there_is_one() -> None:
    assert refused(asked(), CLOSED) == "token_missing"
    assert refused(asked(authorization="Basic dXNlcg=="), CLOSED) == "token_missing"
    assert refused(asked(authorization="Bearer "), CLOSED) == "token_missing"
    assert refused(asked(authorization="Bearer wrong"), CLOSED) == "token_wrong"
    assert refused(asked(authorization="Bearer \u20ac"), CLOSED) == "token_wrong"


def test_the_full_token_may_do_everything_and_the_other_one_may_look() -> None:
    full, read_only = f"Bearer {FULL.decode()}", f"bearer {READ_ONLY.decode()}"
    assert refused(asked(authorization=full), CLOSED) == ""
    assert refused(change(authorization=full), CLOSED) == ""
    assert refused(asked(authorization=read_only), CLOSED) == ""
    assert refused(asked("HEAD", authorization=read_only), CLOSED) == ""
    assert refused(change(authorization=read_only), CLOSED) == "token_reads_only"
    assert not CLOSED.check_token(asked(authorization=full))
    assert CLOSED.check_token(asked(authorization=read_only))
    assert not OPEN.check_token(asked())


def test_an_empty_token_is_none_where_there_is_no_read_only_one() -> None:
    guard = Guard(Known(FULL, None))
    assert refused(asked(authorization="Bearer x"), guard) == "token_wrong"
    assert refused(asked(authorization="Bearer"), guard) == "token_missing"


def test_a_refusal_for_want_of_a_token_says_how_it_is_sent() -> None:
    with pytest.raises(ApiError) as refusal:
        CLOSED.check_token(asked())
    assert refusal.value.status == 401
    assert refusal.value.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ("", ""),
        ("; charset=utf-8", ""),
        ('; Charset="UTF-8"', ""),
        ("; version=1", ""),
        ("; charset=latin-1", "not_utf8"),
        ("; version=1; charset=utf-16", "not_utf8"),
    ],
)
def test_json_is_in_utf8(parameters: str, code: str) -> None:
    assert refused(change(content_type=f"application/json{parameters}"), OPEN) == code
