"""Finds the line of each key of a TOML document, which the standard library's reader does not report.

The text has been accepted by ``tomllib`` before, so the scanner only has to find where tokens begin and end;
it does not look for mistakes. Grammar: TOML 1.0.0, sections "Keys" to "Array of Tables".
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

from attrs import frozen

from tcpbalance.config.errors import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*+")
_SPACE = re.compile(r"[ \t]*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
# In a string of several lines up to two quotes may stand before the three that close it.
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\]|\\.)*+"'
    r"|'[^']*+'",
    re.DOTALL,
)
# A number, a boolean or a date; a date may have a space in it, so the end of the line ends it, not a blank.
_PLAIN = re.compile(r"[^,\]}#\n]++")


@frozen
class Positions:
    """Where the keys of one document stand.

    :param lines: the line, counted from 1, of each key, table and element of a list.
    """

    lines: Mapping[KeyPath, int]

    def line_of(self, path: KeyPath) -> int:
        """Give the line of a key, or of the closest table around it when it is not in the file."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return line
        return 1


def locate(text: str) -> Positions:
    """Find the line of everything in a document.

    A table with a header of its own stands there; one that only its children mention, at the first child.

    :param text: a document that ``tomllib`` accepts.
    :raises RecursionError: when arrays or inline tables nest too deeply.
    """
    scanner = _Scanner(text)
    scanner.document()
    return Positions(scanner.lines)


class _Scanner:
    """One walk through a text; ``_at`` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        # Of each array of tables, the index of the element that headers below it speak of.
        self._latest: dict[KeyPath, int] = {}

    def document(self) -> None:
        """Walk from the first character to the last."""
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> KeyPath:
        line = self._line()
        brackets = 2 if self._peek("[[") else 1
        self._at += brackets
        keys = self._key()
        self._at += brackets
        parent = self._enter((), keys[:-1], line)
        path = self._element((*parent, keys[-1]), line) if brackets == 2 else (*parent, keys[-1])
        self.lines[path] = line
        return path

    def _element(self, array: KeyPath, line: int) -> KeyPath:
        """Add an element to an array of tables."""
        self.lines.setdefault(array, line)
        self._latest[array] = self._latest.get(array, -1) + 1
        return (*array, self._latest[array])

    def _enter(self, base: KeyPath, keys: list[str], line: int) -> KeyPath:
        """Go down from a table, into the latest element where the way leads through an array of tables."""
        path = base
        for key in keys:
            path = (*path, key)
            self.lines.setdefault(path, line)
            if path in self._latest:
                path = (*path, self._latest[path])
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        keys = self._key()
        self._at += len("=")
        path = (*self._enter(table, keys[:-1], line), keys[-1])
        self.lines[path] = line
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key and the blanks around its parts."""
        keys: list[str] = []
        while not keys or self._peek("."):
            self._at += len(".") if keys else 0
            self._skip(_SPACE)
            keys.append(self._simple_key())
            self._skip(_SPACE)
        return keys

    def _simple_key(self) -> str:
        if self._peek('"') or self._peek("'"):
            # The escapes are tomllib's to read.
            return str(tomllib.loads(f"key = {self._skip(_STRING)}")["key"])
        return self._skip(_BARE_KEY)

    def _value(self, path: KeyPath) -> None:
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        else:
            self._skip(_STRING if self._peek('"') or self._peek("'") else _PLAIN)

    def _array(self, path: KeyPath) -> None:
        self._open()
        index = 0
        while not self._peek("]"):
            element = (*path, index)
            self.lines[element] = self._line()
            self._value(element)
            self._next()
            index += 1
        self._at += len("]")

    def _inline_table(self, path: KeyPath) -> None:
        self._open()
        while not self._peek("}"):
            self._pair(path)
            self._next()
        self._at += len("}")

    def _open(self) -> None:
        self._at += 1
        self._skip(_BLANK)

    def _next(self) -> None:
        """Step over what stands between one element and the next."""
        self._skip(_BLANK)
        if self._peek(","):
            self._open()

    def _peek(self, token: str) -> bool:
        return self._text.startswith(token, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"not the text of a TOML document, at offset {self._at}")
        self._at = match.end()
        return match[0]

    def _line(self) -> int:
        return bisect_left(self._ends, self._at) + 1
