"""How values, keys and choices read in messages: quoted as the operator writes them, escaped, and short."""

from __future__ import annotations

from collections.abc import Collection, Iterable

MAX_QUOTED = 60
"""Characters of an offending value that a message repeats; more would hide the message."""

MAX_SENTENCE = 300
"""Characters of a message from elsewhere, such as a third party's validator."""

_MAX_CHOICE = 20
_MAX_BITS = 64


def value_text(value: object) -> str:
    """Word a value as the operator would write it, on one line and within a bound.

    :param value: anything a TOML document can hold, or one of the value types.
    """
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        # Turning it into digits may take long, and Python refuses to from 4300 on.
        return f"a whole number of more than {_MAX_BITS} bits"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return one_line(str(value), MAX_QUOTED)


def quoted(text: str) -> str:
    """Put a text in double quotes, shortened, with quotes, backslashes and what cannot be printed escaped."""
    return '"' + "".join("\\" + c if c in '"\\' else _printable(c) for c in _cut(text, MAX_QUOTED)) + '"'


def one_line(text: str, limit: int = MAX_SENTENCE) -> str:
    """Escape what cannot be printed, line ends among it, and shorten.

    :param limit: characters of the text that stay.
    """
    return "".join(map(_printable, _cut(text, limit)))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "..."


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def choices(names: Iterable[str], last: str = "or") -> str:
    """Word a list: ``"a", "b" or "c"``, in the order given.

    :param last: the word before the last name.
    """
    words = [quoted(name) for name in names]
    if len(words) > _MAX_CHOICE:
        return ", ".join(words[:_MAX_CHOICE]) + ", ..."
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that was probably meant, or None when nothing is near.

    Ratcliff and Obershelp's similarity, as in the standard library's ``difflib``.
    """
    # What is longer than this resembles no key, and comparing it would only take time.
    if len(name) > MAX_QUOTED:
        return None
    # Only mistakes need it.
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def guess(name: str, known: Collection[str], otherwise: str) -> str:
    """Word the proposal for an unknown name: the nearest known one, or all of them.

    :param otherwise: how the list of known names is introduced, such as "known keys are".
    """
    meant = nearest(name, known)
    return f"did you mean {quoted(meant)}?" if meant else f"{otherwise} {choices(known, 'and')}"


def must_be_one_of(value: object, names: Collection[str]) -> str:
    """Word the refusal of a value that is none of the names allowed."""
    kind = "must be one of" if len(names) > 1 else "must be"
    meant = nearest(value, names) if isinstance(value, str) else None
    hint = f", did you mean {quoted(meant)}?" if meant else ""
    return f"{kind} {choices(names)}, got {value_text(value)}{hint}"


def unknown_key(name: str, known: Collection[str]) -> str:
    """Word the refusal of a key."""
    return f"unknown key, {guess(name, known, 'known keys are')}"
