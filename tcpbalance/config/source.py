"""From a file's name to a TOML document, and to where its keys stand, or one clear line that says why not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from tcpbalance.config.errors import ConfigError
from tcpbalance.config.messages import one_line
from tcpbalance.config.pieces import NOTHING, KnownTable, Table, read_pieces
from tcpbalance.config.positions import Positions, locate

MAX_CONFIG_FILE = 2**20
"""Bytes; thousands of backends stay far below, and a file named by mistake may be of any size."""

_TOO_DEEP = "keys, lists or tables are nested too deeply"
# The library's time for a dotted key grows with the square of its parts, and ours have no more than a few.
_DEEP_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*+(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""", re.MULTILINE
)
_PLACE = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")
_MANY_DIGITS = re.compile(r"[0-9_]{4300,}")


def read_text(file: str) -> str:
    """Read a file.

    :param file: its name as the operator gave it.
    :raises ConfigError: when it cannot be read or is not a text in UTF-8.
    """
    content = _read(file)
    if len(content) > MAX_CONFIG_FILE:
        raise ConfigError.of(
            file, 1, f"is larger than {MAX_CONFIG_FILE // 2**20} MiB, name a configuration file"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError.of(file, line, "is not a text in UTF-8, save it as UTF-8") from None
    _refuse_unwritten(file, text)
    return text


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(MAX_CONFIG_FILE + 1)
    except OSError as error:
        raise ConfigError.of(file, 1, f"cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise ConfigError.of(one_line(file), 1, f"cannot be read: {error}") from None


def _refuse_unwritten(file: str, text: str) -> None:
    if not text.strip():
        raise ConfigError.of(file, 1, "is empty, write at least one [frontends.NAME] and its [pools.NAME]")
    if "\0" in text:
        raise ConfigError.of(
            file,
            _line(text, text.index("\0")),
            "has a NUL in it and is not a text, name a configuration file",
        )


def parse(
    file: str,
    text: str,
    known: Mapping[str, KnownTable] = NOTHING,
    rest: Callable[[], object] = lambda: None,
) -> tuple[Table, Mapping[str, KnownTable]]:
    """Read TOML.

    :param known: tables that need not be read again, by their text.
    :param rest: called often.
    :returns: the document, and its frontends and pools by their text; none where it was read as a whole.
    :raises ConfigError: with the line of the first mistake in the syntax.
    """
    return read_pieces(text, known, _loads, rest) or (_parse_whole(file, text), NOTHING)


def _loads(text: str) -> Table:
    if _DEEP_KEY.search(text):
        raise RecursionError
    return tomllib.loads(text)


def _parse_whole(file: str, text: str) -> Table:
    deep = _DEEP_KEY.search(text)
    if deep:
        raise ConfigError.of(file, _line(text, deep.end()), _TOO_DEEP)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(file, text, str(error)) from None
    except RecursionError:
        raise ConfigError.of(file, 1, _TOO_DEEP) from None
    except ValueError:
        # Python refuses to read numbers of more digits than this, and tomllib lets that through.
        match = _MANY_DIGITS.search(text)
        line = _line(text, match.start()) if match else 1
        raise ConfigError.of(file, line, "not valid TOML: a number has too many digits") from None


def positions(file: str, text: str) -> Positions:
    """Find where the keys of a document stand, which takes as long as to read it.

    :param text: what `parse` takes.
    :raises ConfigError: it nests too deeply.
    """
    try:
        return locate(text)
    except RecursionError:
        raise ConfigError.of(file, 1, _TOO_DEEP) from None


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _syntax_error(file: str, text: str, message: str) -> ConfigError:
    place = _PLACE.search(message)
    line = int(place[1]) if place and place[1] else text.rstrip().count("\n") + 1
    column = f" (column {place[2]})" if place and place[2] else ""
    what = one_line(_PLACE.sub("", message))
    return ConfigError.of(file, line, f"not valid TOML: {what[:1].lower()}{what[1:]}{column}")
