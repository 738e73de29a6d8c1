"""Lists of sessions during a flood are looked through as the bench says."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.errors import Failed
from bench.flooded_lists import _NEXT, SESSIONS, Pages, _reason


def page(numbers: range, network: str = "127.1") -> bytes:
    sessions = [{"id": f"{number}", "client": f"{network}.0.1:{number}"} for number in numbers]
    return json.dumps({"sessions": sessions}).encode()


def test_a_list_that_has_each_quiet_session_once_is_whole() -> None:
    half = SESSIONS // 2
    flood = page(range(5), "127.0")
    Pages(lists=[[page(range(half)), page(range(half, SESSIONS)), flood]]).check()


TAKEN_WRONGLY = [range(5000, SESSIONS - 1), range(4999, SESSIONS - 1), range(4999, SESSIONS)]


@pytest.mark.parametrize("second", TAKEN_WRONGLY)
def test_one_that_lacks_one_or_has_one_twice_is_not(second: range) -> None:
    with pytest.raises(Failed, match=r"sessions are listed"):
        Pages(lists=[[page(range(5000)), page(second)]]).check()


def test_no_list_at_all_is_a_failure() -> None:
    with pytest.raises(Failed, match="worker 1 has not answered"):
        Pages(refusals=["worker 1 has not answered"]).check()


def test_the_next_page_is_found_behind_the_sessions() -> None:
    found = _NEXT.search(b'{"sessions":[{"id":"0.1.2"}],"next":"0.7f.19"}')
    assert found is not None
    assert found[1] == b"0.7f.19"
    assert _NEXT.search(b'{"sessions":[{"id":"0.1.2"}],"next":null}') is None


def test_an_error_has_to_have_a_reason() -> None:
    assert _reason(b'{"error": {"code": "x", "message": "ask again"}}') == "ask again"
    for body in (b"", b"{}", b"[]", b'{"error": "x"}'):
        with pytest.raises(Failed, match="without a reason"):
            _reason(body)
