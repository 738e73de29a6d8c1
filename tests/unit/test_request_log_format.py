"""The line of a request in the access log: that of its session, and what HTTP adds to it."""

from __future__ import annotations

import json
import re

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.log_lines import (
    HOSTILE,
    KEYS,
    REQUEST_KEYS,
    REQUEST_VALUES,
    VALUES,
    json_form,
    pairs,
    text_form,
    values,
)
from support.records import record, request, tls
from tcpbalance.http.record import MAX_RECORDED_TEXT, RequestRecord, bounded
from tcpbalance.logs.log_format import json_line, text_line, with_worker
from tcpbalance.proxy.reasons import EndReason

ALL_VALUES = {**VALUES, **REQUEST_VALUES}
REQUESTS = st.builds(RequestRecord, **ALL_VALUES)
UNUSUAL_REQUESTS = st.one_of([st.builds(request, **{key: values}) for key, values in ALL_VALUES.items()])

TEXTS = ["method", "host", "target", "version", "route", "request_id", "referer", "user_agent", "user"]


@settings(max_examples=300)
@given(REQUESTS | UNUSUAL_REQUESTS)
def test_a_line_says_the_same_whichever_way_it_is_made(shown: RequestRecord) -> None:
    assert text_line(shown) == text_form(values(shown))
    assert json_line(shown) == json_form(values(shown))


def test_each_field_has_its_values() -> None:
    assert {field.name for field in attrs.fields(RequestRecord)} == ALL_VALUES.keys()


def test_a_text_line_says_everything_in_order() -> None:
    assert text_line(request()) == (
        "start=2026-05-04T09:12:33.481Z client=192.0.2.7:51324 frontend=web backend=b attempts=1"
        " wait_ms=0.212 connect_ms=- total_ms=18.042 client_bytes=412 backend_bytes=18230"
        " closed_by=backend reason=answered cause=-"
        " tried=b proxy=- server_name=- unique_id=- tls_version=- tls_cipher=- tls_client=-"
        " method=GET host=www.example.com version=1.1 status=200 route=shop pool=web reused=yes user=-"
        ' target="/shop/item?id=7"'
        " request_id=0b9c4f51-3c0f-4c8b-9c8e-7d0d9f7f5a11 head_ms=0.051 first_byte_ms=17.201"
        " request_body=0 response_body=17980 referer=https://www.example.com/shop"
        ' user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"'
    )


def test_a_json_line_says_everything_in_order() -> None:
    assert json_line(request()) == (
        '{"start":"2026-05-04T09:12:33.481Z","client":"192.0.2.7:51324","frontend":"web","backend":"b","attempts":1,'
        '"wait_ms":0.212,"connect_ms":null,"total_ms":18.042,"client_bytes":412,"backend_bytes":18230,'
        '"closed_by":"backend","reason":"answered","cause":null,'
        '"tried":[{"backend":"b","cause":null}],"proxy":null,"server_name":null,"unique_id":null,'
        '"tls_version":null,"tls_cipher":null,"tls_client":null,'
        '"method":"GET","host":"www.example.com","version":"1.1","status":200,"route":"shop","pool":"web","reused":true,"user":null,'
        '"target":"/shop/item?id=7","request_id":"0b9c4f51-3c0f-4c8b-9c8e-7d0d9f7f5a11","head_ms":0.051,'
        '"first_byte_ms":17.201,"request_body":0,"response_body":17980,'
        '"referer":"https://www.example.com/shop",'
        '"user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}'
    )


def test_what_could_not_be_read_is_a_dash_in_text_and_null_in_json() -> None:
    unread = RequestRecord(
        started=1777885953.481,
        client="192.0.2.7:51324",
        frontend="web",
        backend=None,
        attempts=0,
        wait=0.0,
        connect=None,
        total=0.0,
        client_bytes=4,
        backend_bytes=0,
        reason=EndReason.CLIENT_RESET,
        cause="",
    )
    assert text_line(unread).endswith(
        " method=- host=- version=- status=- route=- pool=- reused=no user=- target=- request_id=- head_ms=-"
        " first_byte_ms=- request_body=0 response_body=0 referer=- user_agent=-"
    )
    fields = json.loads(json_line(unread))
    assert list(fields) == [*KEYS, *REQUEST_KEYS]
    assert [fields[key] for key in (*TEXTS, "status", "head_ms", "first_byte_ms")] == [None] * 12


def test_a_session_has_no_keys_of_a_request() -> None:
    assert list(json.loads(json_line(record()))) == list(pairs(text_line(record()))) == KEYS


def test_one_of_several_workers_says_which_it_is_at_the_end() -> None:
    assert with_worker(text_line, 3)(request()) == f"{text_line(request())} worker=3"
    fields = json.loads(with_worker(json_line, 0)(request()))
    assert fields == {**json.loads(json_line(request())), "worker": 0}


@pytest.mark.parametrize("line", [text_line, json_line])
@pytest.mark.parametrize("field", TEXTS)
def test_no_field_breaks_the_line(line: object, field: str) -> None:
    assert callable(line)
    assert re.fullmatch(r"[ -~]+", line(request(**{field: HOSTILE})))


@given(st.sampled_from(TEXTS), st.text(min_size=1))
def test_every_text_can_be_read_back(field: str, text: str) -> None:
    shown = request(**{field: text, "tls": tls()})
    line, found = text_line(shown), json_line(shown)
    assert re.fullmatch(r"[ -~]+", line)
    assert re.fullmatch(r"[ -~]+", found)
    assert list(pairs(line)) == list(json.loads(found)) == [*KEYS, *REQUEST_KEYS]
    assert pairs(line)[field] == json.loads(found)[field] == text


@pytest.mark.parametrize("size", [0, 1, MAX_RECORDED_TEXT, MAX_RECORDED_TEXT + 1, 100_000])
def test_a_text_of_the_client_is_cut(size: int) -> None:
    kept = bounded("x" * size)
    assert kept == "x" * size if size <= MAX_RECORDED_TEXT else kept == "x" * MAX_RECORDED_TEXT + "..."
