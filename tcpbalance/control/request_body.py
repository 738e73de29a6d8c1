"""Reads the body of a request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tcpbalance.config.messages import choices, value_text
from tcpbalance.control.api_request import ApiError, ApiRequest

MAX_DIGITS = 100
"""Of a whole number: Python refuses very long ones in words of its own."""


def read_object(request: ApiRequest, keys: Sequence[str]) -> dict[str, Any]:
    """Read the body of a request as a JSON object.

    :param keys: that it may have, at least one of them.
    :raises ApiError: it is none, or has other keys.
    """
    try:
        content = json.loads(request.body, object_pairs_hook=_object, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "not_json", f"the body is not JSON: {error}") from error
    if not isinstance(content, dict) or not content:
        raise ApiError(400, "bad_body", f"the body must be an object with {choices(keys)}")
    unknown = sorted(content.keys() - set(keys))
    if unknown:
        raise ApiError(
            400, "unknown_key", f"the body has {value_text(unknown[0])}, it may have {choices(keys)}"
        )
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ApiError(400, "bad_body", f"the body has {value_text(twice)} twice")
    return found


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ApiError(400, "bad_body", f"a number may have at most {MAX_DIGITS} digits, got {len(text)}")
    return int(text)
