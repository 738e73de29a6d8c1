"""Dates (RFC 9110, section 5.6.7)."""

from __future__ import annotations

from email.utils import formatdate


def http_date(seconds: float) -> bytes:
    """Write a time as Date has it.

    :param seconds: since 1970, UTC.
    """
    return formatdate(seconds, usegmt=True).encode("ascii")
