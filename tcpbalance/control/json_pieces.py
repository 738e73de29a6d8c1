"""Writes JSON in pieces, for answers that are long."""

from __future__ import annotations

import json
from collections.abc import Iterator

BYTES_A_PIECE = 4 * 1024
"""Some 30 microseconds' work."""

_PARTS_DOWN_TO = 4
"""How deep what is long may lie: in a view, lists of backends are in pools, in a list, in the whole."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def json_pieces(content: object) -> Iterator[bytes]:
    """Write a value, and a line end."""
    texts: list[str] = []
    size = 0
    for text in _texts(content, _PARTS_DOWN_TO):
        texts.append(text)
        size += len(text)
        if size >= BYTES_A_PIECE:
            yield "".join(texts).encode()
            texts, size = [], 0
    texts.append("\n")
    yield "".join(texts).encode()


def _texts(content: object, depth: int) -> Iterator[str]:
    if depth and content and isinstance(content, dict):
        before = "{"
        for key, value in content.items():
            yield f"{before}{_encode(key)}:"
            yield from _texts(value, depth - 1)
            before = ","
        yield "}"
    elif depth and content and isinstance(content, list):
        before = "["
        for value in content:
            yield before
            yield from _texts(value, depth - 1)
            before = ","
        yield "]"
    else:
        yield _encode(content)
