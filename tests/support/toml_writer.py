"""Writes TOML in every style the language has, and remembers on which line it wrote what."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from tcpbalance.config.errors import KeyPath

Table = dict[str, Any]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LITERAL = re.compile(r"[^'\x00-\x08\x0a-\x1f\x7f]*")
_NOISE = ("", " ", "\t", " # [no.table]\n", "\n\n", " # \"\"\" ''' { [ =\n  ")


class TomlWriter:
    """One document.

    :param choose: decides on the style of each thing.
    :ivar lines: the line of each key, table and element of a list.
    """

    def __init__(self, choose: random.Random) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._choose = choose
        self._written: list[str] = []
        self._line = 1

    @property
    def text(self) -> str:
        """What has been written."""
        return "".join(self._written)

    def document(self, root: Table) -> None:
        """Write a whole document."""
        later = self._body((), root)
        self._sections((), later)

    def _write(self, text: str) -> None:
        self._written.append(text)
        self._line += text.count("\n")

    def _odds(self) -> bool:
        return self._choose.random() < 0.5

    def _body(self, path: KeyPath, table: Table) -> Table:
        """Write what stands below a header; give the tables that get headers of their own."""
        later: Table = {}
        for key, value in table.items():
            if (isinstance(value, dict) or _is_rows(value)) and self._odds():
                later[key] = value
            else:
                self._pairs(path, [key], value)
        return later

    def _pairs(self, base: KeyPath, keys: list[str], value: object) -> None:
        """Write a pair, or several with dotted keys."""
        if isinstance(value, dict) and value and self._odds():
            for key, item in value.items():
                self._pairs(base, [*keys, key], item)
            return
        self._pair(base, keys, value)
        self._write(self._choose.choice(("\n", " # a = 1\n", "\n\n# [comment]\n")))

    def _pair(self, base: KeyPath, keys: list[str], value: object) -> None:
        self._mark((*base, *keys), len(base))
        self._key(keys)
        self._write("=" + " " * self._odds())
        self._value((*base, *keys), value)

    def _mark(self, path: KeyPath, known: int) -> None:
        """Remember the line of a key, and of the tables on the way that have not been mentioned before."""
        for length in range(known + 1, len(path)):
            self.lines.setdefault(path[:length], self._line)
        self.lines[path] = self._line

    def _sections(self, path: KeyPath, tables: Table) -> None:
        for key, value in tables.items():
            if isinstance(value, dict):
                self._section((*path, key), value)
            else:
                self._rows((*path, key), value)

    def _section(self, path: KeyPath, table: Table) -> None:
        """Write a table with its header before or behind its sub-tables, or without one when it can."""
        early = {key: value for key, value in table.items() if isinstance(value, dict) and self._odds()}
        rest = {key: value for key, value in table.items() if key not in early}
        self._sections(path, early)
        if rest or not early:
            self._header("[", path)
            self._sections(path, self._body(path, rest))

    def _rows(self, path: KeyPath, rows: Sequence[Table]) -> None:
        for index, row in enumerate(rows):
            self.lines.setdefault(path, self._line)
            self._header("[[", (*path, index))
            self._sections((*path, index), self._body((*path, index), row))

    def _header(self, bracket: str, path: KeyPath) -> None:
        self._mark(path, 0)
        self._write(bracket)
        self._key([part for part in path if isinstance(part, str)])
        self._write("]" * len(bracket) + "\n")

    def _key(self, keys: list[str]) -> None:
        dot = self._choose.choice((".", " . ", "\t."))
        space = " " * self._odds()
        self._write(space + dot.join(map(self._simple_key, keys)) + space)

    def _simple_key(self, key: str) -> str:
        if _BARE.fullmatch(key) and self._odds():
            return key
        return f"'{key}'" if _LITERAL.fullmatch(key) and self._odds() else f'"{_escaped(key)}"'

    def _value(self, path: KeyPath, value: object) -> None:
        if isinstance(value, dict):
            self._inline_table(path, value)
        elif isinstance(value, list):
            self._array(path, value)
        else:
            self._write(self._string(value) if isinstance(value, str) else _plain(value))

    def _inline_table(self, path: KeyPath, table: Table) -> None:
        self._write("{ ")
        for index, (key, value) in enumerate(table.items()):
            self._write(", " * bool(index))
            self._inline_pair(path, [key], value)
        self._write(" }")

    def _inline_pair(self, base: KeyPath, keys: list[str], value: object) -> None:
        if isinstance(value, dict) and len(value) == 1 and self._odds():
            ((key, item),) = value.items()
            self._inline_pair(base, [*keys, key], item)
        else:
            self._pair(base, keys, value)

    def _array(self, path: KeyPath, items: list[Any]) -> None:
        self._write("[")
        for index, item in enumerate(items):
            self._write(self._choose.choice(_NOISE))
            self.lines[*path, index] = self._line
            self._value((*path, index), item)
            self._write(self._choose.choice(_NOISE))
            self._write("," * (index + 1 < len(items) or self._odds()))
        self._write(self._choose.choice(_NOISE) + "]")

    def _string(self, text: str) -> str:
        styles = [f'"{_escaped(text)}"', f'"""\n{_broken(text)}"""', f'"""\\\n   {_broken(text.lstrip())}"""']
        if text != text.lstrip():
            styles.pop()
        if _LITERAL.fullmatch(text):
            styles.append(f"'{text}'")
        if _LITERAL.fullmatch(text.replace("'", "").replace("\n", "")) and not re.search("'''", text):
            styles.append(f"'''\n{text}'''")
        return self._choose.choice(styles)


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escaped(text: str) -> str:
    return "".join(
        f"\\{c}" if c in '"\\' else f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in text
    )


def _broken(text: str) -> str:
    """Escape for a string of several lines: line ends stay, and quotes as long as they are few."""
    escaped = _escaped(text).replace("\\u000a", "\n")
    return re.sub(r'((?:\\")+)', lambda match: match[0].replace("\\", "")[:2] + match[0][4:], escaped)
