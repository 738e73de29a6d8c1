"""A line of the access log says everything once, in a stable order, and stays one line whatever it says."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.log_lines import HOSTILE, KEYS, VALUES, json_form, pairs, text_form, values
from support.records import record, tls
from tcpbalance.logs.log_format import json_line, text_line, with_worker
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord

RECORDS = st.builds(SessionRecord, **VALUES)
UNUSUAL_IN_ONE_PLACE = st.one_of([st.builds(record, **{key: values}) for key, values in VALUES.items()])


@settings(max_examples=300)
@given(RECORDS | UNUSUAL_IN_ONE_PLACE)
def test_a_line_says_the_same_whichever_way_it_is_made(shown: SessionRecord) -> None:
    assert text_line(shown) == text_form(values(shown))
    assert json_line(shown) == json_form(values(shown))


def test_a_text_line_says_everything_in_order() -> None:
    assert text_line(record()) == (
        "start=2026-05-04T09:12:33.481Z client=192.0.2.7:51324 frontend=web backend=b attempts=1"
        " wait_ms=0.412 connect_ms=0.388 total_ms=1520.042 client_bytes=512 backend_bytes=18230"
        " closed_by=client reason=client_closed cause=-"
        " tried=b proxy=- server_name=- unique_id=- tls_version=- tls_cipher=- tls_client=-"
    )


def test_a_json_line_says_everything_in_order() -> None:
    assert json_line(record()) == (
        '{"start":"2026-05-04T09:12:33.481Z","client":"192.0.2.7:51324","frontend":"web","backend":"b","attempts":1,'
        '"wait_ms":0.412,"connect_ms":0.388,"total_ms":1520.042,"client_bytes":512,"backend_bytes":18230,'
        '"closed_by":"client","reason":"client_closed","cause":null,'
        '"tried":[{"backend":"b","cause":null}],"proxy":null,"server_name":null,"unique_id":null,'
        '"tls_version":null,"tls_cipher":null,"tls_client":null}'
    )


def test_one_of_several_workers_says_which_it_is_at_the_end() -> None:
    assert with_worker(text_line, 3)(record()) == f"{text_line(record())} worker=3"
    fields = json.loads(with_worker(json_line, 0)(record()))
    assert fields == {**json.loads(json_line(record())), "worker": 0}


def test_what_there_is_not_is_a_dash_in_text_and_null_in_json() -> None:
    unserved = record(backend=None, connect=None, attempts=0, reason=EndReason.NO_BACKEND)
    assert " backend=- attempts=0 wait_ms=0.412 connect_ms=- " in text_line(unserved)
    assert '"backend":null' in json_line(unserved)
    assert '"connect_ms":null' in json_line(unserved)


def test_a_value_that_looks_like_what_there_is_not_is_told_from_it() -> None:
    assert pairs(text_line(record(frontend="-", client="")))["frontend"] == "-"
    assert ' client="" frontend="-" ' in text_line(record(frontend="-", client=""))


def test_a_cause_is_quoted_where_it_has_spaces() -> None:
    failed = record(reason=EndReason.CONNECT_FAILED, cause="timed out after 3 s")
    assert ' closed_by=balancer reason=connect_failed cause="timed out after 3 s" ' in text_line(failed)


def tried(**changes: object) -> tuple[str, object]:
    """What both forms say of the attempts."""
    said = record(**changes)
    return pairs(text_line(said))["tried"], json.loads(json_line(said))["tried"]


def test_all_attempts_are_listed_with_how_they_failed() -> None:
    failures = [("b", "refused"), ("10.0.0.12:443", "timed out after 3 s")]
    assert tried(attempts=3, backend="a", failures=failures) == (
        "b:refused,10.0.0.12:443:timed out after 3 s,a",
        [
            {"backend": "b", "cause": "refused"},
            {"backend": "10.0.0.12:443", "cause": "timed out after 3 s"},
            {"backend": "a", "cause": None},
        ],
    )
    assert tried(attempts=2, backend=None, failures=failures[:1] * 2)[0] == "b:refused,b:refused"


def test_a_backend_that_accepted_and_broke_off_is_listed_once() -> None:
    assert tried(attempts=1, backend="a", failures=[("a", "reset")])[0] == "a:reset"
    assert (
        tried(attempts=2, backend="a", failures=[("a", "reset"), ("b", "refused")])[0] == "a:reset,b:refused"
    )


def test_nobody_was_tried() -> None:
    assert tried(attempts=0, backend=None) == ("-", [])


def test_a_client_that_was_introduced_says_by_whom_and_for_what() -> None:
    introduced = record(proxy="10.0.0.1:51000", server_name="www.example.com", unique_id="7f")
    assert " proxy=10.0.0.1:51000 server_name=www.example.com unique_id=7f " in text_line(introduced)
    fields = json.loads(json_line(introduced))
    assert (fields["proxy"], fields["server_name"], fields["unique_id"]) == (
        "10.0.0.1:51000",
        "www.example.com",
        "7f",
    )


def test_what_a_handshake_agreed_on() -> None:
    without = record(tls=tls())
    assert text_line(without).endswith(" tls_version=TLSv1.3 tls_cipher=TLS_AES_128_GCM_SHA256 tls_client=-")
    assert json_line(without).endswith(
        ',"tls_version":"TLSv1.3","tls_cipher":"TLS_AES_128_GCM_SHA256","tls_client":null}'
    )
    shown = record(tls=tls(subject="CN=Ann Other,O=Example"))
    assert text_line(shown).endswith(' tls_client="CN=Ann Other,O=Example"')
    assert json_line(shown).endswith(',"tls_client":"CN=Ann Other,O=Example"}')


@pytest.mark.parametrize("reason", EndReason)
def test_every_reason_has_its_word_and_who_closed(reason: EndReason) -> None:
    fields = json.loads(json_line(record(reason=reason)))
    assert (fields["reason"], fields["closed_by"]) == (reason.word, reason.closer)


def test_an_address_needs_no_quotes() -> None:
    assert " client=[2001:db8::7]:51324 " in text_line(record(client="[2001:db8::7]:51324"))
    assert " backend=unix:/run/app.sock " in text_line(record(backend="unix:/run/app.sock"))


@pytest.mark.parametrize("line", [text_line, json_line])
@pytest.mark.parametrize(
    "field", ["client", "frontend", "backend", "cause", "proxy", "server_name", "unique_id"]
)
def test_no_field_breaks_the_line(line: object, field: str) -> None:
    assert callable(line)
    assert re.fullmatch(r"[ -~]+", line(record(**{field: HOSTILE})))


@given(st.none() | st.text())
def test_whatever_a_certificate_says_can_be_read_back(subject: str | None) -> None:
    shown = record(tls=tls(subject=subject))
    assert pairs(text_line(shown))["tls_client"] == ("-" if subject is None else subject)
    assert json.loads(json_line(shown))["tls_client"] == subject
    assert re.fullmatch(r"[ -~]+", text_line(shown))
    assert re.fullmatch(r"[ -~]+", json_line(shown))


@given(st.text(), st.text(), st.none() | st.text(), st.text())
def test_text_can_be_read_back_whatever_it_says(
    client: str, frontend: str, backend: str | None, cause: str
) -> None:
    line = text_line(record(client=client, frontend=frontend, backend=backend, cause=cause))
    assert re.fullmatch(r"[ -~]+", line)
    read = pairs(line)
    assert list(read) == KEYS
    assert (read["client"], read["frontend"]) == (client, frontend)
    assert read["backend"] == ("-" if backend is None else backend)
    assert read["cause"] == (cause or "-")


@given(st.text(), st.text(), st.none() | st.text(), st.text())
def test_json_can_be_read_back_whatever_it_says(
    client: str, frontend: str, backend: str | None, cause: str
) -> None:
    line = json_line(record(client=client, frontend=frontend, backend=backend, cause=cause))
    assert re.fullmatch(r"[ -~]+", line)
    read = json.loads(line)
    assert list(read) == KEYS
    assert (read["client"], read["frontend"], read["backend"]) == (client, frontend, backend)
    assert read["cause"] == (cause or None)


@given(st.floats(min_value=0, max_value=253402300799), st.floats(min_value=0, max_value=1e9))
def test_times_are_to_the_millisecond_and_durations_to_the_microsecond(started: float, total: float) -> None:
    line = text_line(record(started=started, total=total))
    assert re.match(r"start=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line)
    assert re.search(r" total_ms=\d+\.\d{3} ", line)
