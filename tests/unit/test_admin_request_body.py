"""The body of a request: what it may not have, in words of our own."""

from __future__ import annotations

import pytest

from tcpbalance.control.api_request import ApiError, ApiRequest
from tcpbalance.control.request_body import read_object


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"weight": 3, "weight": 4}', 'the body has "weight" twice'),
        ('{"weight": {"a": 1, "a": 1}}', 'the body has "a" twice'),
        (f'{{"weight": {"9" * 6000}}}', "a number may have at most 100 digits, got 6000"),
        ('{"weight": 3', "the body is not JSON: "),
    ],
)
def test_what_makes_no_sense_is_refused(body: str, says: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_object(ApiRequest(method="PATCH", path="/", body=body.encode()), ["weight"])
    assert refused.value.status == 400
    assert str(refused.value).startswith(says)


def test_each_key_once_is_read() -> None:
    request = ApiRequest(method="PATCH", path="/", body=b'{"weight": 3, "state": "drain"}')
    assert read_object(request, ["weight", "state"]) == {"weight": 3, "state": "drain"}
