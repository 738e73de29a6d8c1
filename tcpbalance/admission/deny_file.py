"""Deny files: networks whose clients are refused, one on each line."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from io import BytesIO
from socket import AF_INET, AF_INET6, inet_pton

from tcpbalance.admission.errors import DenyFileError
from tcpbalance.admission.networks import PIECE, NetworkSet, Span, no_rest, span
from tcpbalance.config.addresses import Network
from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.errors import KeyPath, Mistake

MAX_DENY_FILE = 16 * 2**20
"""Bytes; as many networks as there may be need less than half of it, which leaves space for comments."""

MAX_LINES = 250_000
"""Well above the usual hundred thousand networks. They take 20 MiB, and a second to be
read; while others are served, three or four."""

MAX_MISTAKES = 5
"""Mistakes that are reported: a file with more of them is hardly a deny file."""


def read_deny_file(path: str, rest: Callable[[], object] = no_rest) -> NetworkSet:
    """Read a deny file.

    :param path: of a text with a network or an address on each line; a comment begins with ``#``, and may
        stand behind a network, too.
    :param rest: called now and then; ``give_way`` in a thread.
    :raises DenyFileError: it cannot be read, is too large, or a line holds something else.
    """
    mistakes: list[str] = []
    networks = NetworkSet.of_spans(_spans(path, mistakes, rest), rest)
    if mistakes:
        raise DenyFileError(mistakes)
    return networks


def _spans(path: str, mistakes: list[str], rest: Callable[[], object]) -> Iterator[Span]:
    for number, line in enumerate(_lines(path), start=1):
        if number % PIECE == 0:
            rest()
        # Comments may be in any encoding; networks are ASCII.
        text = line.decode(errors="replace").partition("#")[0].strip()
        if not text:
            continue
        try:
            yield _quick_span(text) or span(Network.parse(text).network)
        except ValueError as error:
            mistakes.append(f"{path}:{number}: {error}")
            if len(mistakes) == MAX_MISTAKES:
                break


def mistakes_in_deny_file(path: KeyPath, config: AccessConfig) -> Iterator[Mistake]:
    """Try the file that an access table names.

    :param path: where the table stands.
    """
    if config.deny_file is None:
        return
    try:
        read_deny_file(config.deny_file)
    except DenyFileError as error:
        for mistake in error.mistakes:
            yield Mistake((*path, "deny_file"), mistake)


def _lines(path: str) -> BytesIO:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DENY_FILE + 1)
    except OSError as error:
        raise DenyFileError([f"cannot read {path}: {(error.strerror or str(error)).lower()}"]) from error
    if len(data) > MAX_DENY_FILE:
        raise DenyFileError([f"{path} is larger than {MAX_DENY_FILE // 2**20} MiB, merge its networks"])
    if data.count(b"\n") > MAX_LINES:
        raise DenyFileError([f"{path}:{MAX_LINES + 1}: has more than {MAX_LINES} lines, merge its networks"])
    return BytesIO(data.removeprefix(BOM_UTF8))


def _quick_span(text: str) -> Span | None:
    """Read what nearly every line is, in a quarter of the time; None for what has to be looked at closely."""
    host, slash, length = text.partition("/")
    size = 16 if ":" in host else 4
    bits = size * 8
    try:
        first = int.from_bytes(inet_pton(AF_INET6 if size == 16 else AF_INET, host))
    except (OSError, ValueError):
        return None
    if slash:
        if not (length.isascii() and length.isdigit() and len(length) <= 3) or int(length) > bits:
            return None
        bits -= int(length)
    else:
        bits = 0
    last = first | (1 << bits) - 1
    return (size, first, last) if first >> bits << bits == first else None
