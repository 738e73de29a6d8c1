"""Reasons of statuses (RFC 9110, section 15)."""

from __future__ import annotations

import http
from typing import Final

_REASONS: Final = {status.value: status.phrase.encode("ascii") for status in http.HTTPStatus}


def reason(status: int) -> bytes:
    """Give the reason phrase of a status; it is empty where there is none."""
    return _REASONS.get(status, b"")
