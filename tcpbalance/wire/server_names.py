"""Which entry a server name chooses: exact names first, then the wildcard with the longest name behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Generic, NoReturn, TypeVar

from tcpbalance.errors import SettingError

T = TypeVar("T")

MAX_NAME = 253
"""Characters: what the 255 bytes of RFC 1035, section 2.3.4, leave for the text of a name."""

_MAX_SHOWN = 60
_WILDCARD = "*."
# RFC 1123, section 2.1, and the underscore that service names carry in practice.
LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


# UTS 46, section 7: browsers keep these, and the codec below turns them into other letters or drops them.
_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")


class NameMap(Generic[T]):
    """What is found under host names; each lookup costs one step a label.

    :param entries: pairs of a pattern, as `check_pattern` takes it, and what stands under it.
    :param deep: whether the ``*`` of a wildcard matches one label or more, as is usual in routes; False:
        exactly one, as in certificates (RFC 9525, section 6.3).
    :raises SettingError: for a pattern that is none, or that comes twice.
    """

    __slots__ = ("_deep", "_exact", "_wild")

    def __init__(self, entries: Iterable[tuple[str, T]], *, deep: bool) -> None:
        self._deep = deep
        self._exact: dict[str, T] = {}
        self._wild: dict[str, T] = {}  # by what stands behind the *
        for text, value in entries:
            self._add(check_pattern(text), value)

    def lookup(self, name: str | None) -> T | None:
        """Find what stands under the pattern that fits best.

        :param name: a host name in any case, with or without a final dot; None for a client that sent none.
        :returns: None when no pattern fits.
        """
        found = self.match(name)
        return None if found is None else found[1]

    def match(self, name: str | None) -> tuple[str, T] | None:
        """Find the pattern that fits best, and what stands under it; see `lookup`."""
        name = (name or "").lower().removesuffix(".")
        if name in self._exact:
            return name, self._exact[name]
        labels = name.split(".")
        if "" in labels:
            return None
        for first in range(1, len(labels) if self._deep else 2):
            behind = ".".join(labels[first:])
            if behind in self._wild:
                return _WILDCARD + behind, self._wild[behind]
        return None

    def values(self) -> tuple[T, ...]:
        """All that stands under any pattern."""
        return (*self._exact.values(), *self._wild.values())

    def _add(self, pattern: str, value: T) -> None:
        names = self._wild if pattern.startswith(_WILDCARD) else self._exact
        name = pattern.removeprefix(_WILDCARD)
        if name in names:
            raise SettingError(f'"{pattern}" is there twice, and only one of the two can be chosen')
        names[name] = value


def check_pattern(text: str) -> str:
    """Give a host name or wildcard in its one spelling: lower case, ASCII (RFC 3490), without a final dot.

    :raises SettingError: when it is neither, with what is wrong and what to write.
    """
    if len(text.removesuffix(".")) > MAX_NAME:
        _refuse(text, f"it is longer than {MAX_NAME} characters")
    pattern = ".".join(_in_ascii(label, text) for label in text.split(".")).lower().removesuffix(".")
    if len(pattern) > MAX_NAME:
        _refuse(text, f"in ASCII (IDNA) it is longer than {MAX_NAME} characters")
    if pattern == "*":
        _refuse(text, "a name has to stand behind the *")
    _check_labels(pattern.removeprefix(_WILDCARD).split("."), text)
    return pattern


def _in_ascii(label: str, text: str) -> str:
    # Only where it has to be: the codec would refuse an empty label in words of its own.
    if label.isascii():
        return label
    if not _DEVIATIONS.isdisjoint(label):
        _refuse(text, "the two versions of IDNA differ in it, write the form that is meant, with xn-- or ss")
    try:
        return label.encode("idna").decode("ascii")
    except UnicodeError:
        _refuse(text, "it cannot be turned into ASCII (IDNA), write its form that begins with xn--")


def _check_labels(labels: list[str], text: str) -> None:
    for label in labels:
        if not LABEL.fullmatch(label):
            _refuse(text, _wrong_with(label))
    if labels[-1].isdecimal():
        _refuse(text, "no client sends an IP address as a server name, write a host name")


def _wrong_with(label: str) -> str:
    if not label:
        return "nothing stands before, between or behind two dots, write one dot between two labels"
    if "*" in label:
        return "the * can only be all of the first label"
    if any(map(str.isspace, label)):
        return "it has a space, write each name as a string of its own"
    if len(label) > 63:
        return "between two dots there are at most 63 characters"
    return "between two dots there are only letters, digits, _ and, inside, -; no scheme, port or path"


def _refuse(text: str, why: str) -> NoReturn:
    raise SettingError(
        'must be a host name such as "www.example.com" or a wildcard such as "*.example.com", '
        f"got {_shown(text)}: {why}"
    )


def _shown(text: str) -> str:
    """Quote and shorten; what cannot be printed is escaped."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
    return json.dumps(cut, ensure_ascii=not cut.isprintable())
