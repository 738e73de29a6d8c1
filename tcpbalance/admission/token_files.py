"""Files with the tokens that requests to the admin side must bring."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.errors import KeyPath, Mistake, Severity
from tcpbalance.errors import Fault, TcpbalanceError

MIN_TOKEN = 16
"""Characters that a token has at least: a shorter one can be guessed."""

MAX_TOKEN = 4096
"""Bytes that are read of a file."""

_OTHERS = stat.S_IROTH | stat.S_IWOTH

_TOKEN_KEYS = ("token_file", "read_only_token_file")


class TokenFileError(TcpbalanceError):
    """The file of a token cannot be used."""

    fault = Fault.CONFIGURATION


def read_token(path: str) -> bytes:
    """Read a token.

    :raises TokenFileError: the file cannot be read, or has none.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TOKEN + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TokenFileError(f"{path}: the token cannot be read: {reason}") from error
    token = content.strip()
    is_one_line = len(token.split()) == 1 and token.isascii()
    if not is_one_line or not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise TokenFileError(
            f"{path}: must have one line with a token of {MIN_TOKEN} to {MAX_TOKEN} ASCII characters, such "
            "as `openssl rand -hex 32` makes"
        )
    return token


def same_token(read_only: str, full: str) -> str:
    """Say that two files have the same token."""
    return f"{read_only}: must have another token than {full}"


def warning_of(path: str) -> str | None:
    """Say what is wrong with a file that can be used all the same."""
    try:
        is_open_to_others = os.stat(path).st_mode & _OTHERS
    except OSError:
        return None
    if is_open_to_others:
        return f"{path} can be read or written by all users of this machine: chmod 0600 {path}"
    return None


def mistakes_in_token_files(path: KeyPath, config: AdminConfig) -> Iterator[Mistake]:
    """Try the files of tokens that a table names.

    :param path: where the table stands.
    """
    tokens: dict[bytes, str] = {}
    for key, file in zip(_TOKEN_KEYS, (config.token_file, config.read_only_token_file), strict=True):
        if file is None:
            continue
        try:
            token = read_token(file)
        except TokenFileError as error:
            yield Mistake((*path, key), str(error))
            continue
        if token in tokens:
            yield Mistake((*path, key), same_token(file, tokens[token]))
        tokens[token] = file
        if warning := warning_of(file):
            yield Mistake((*path, key), warning, Severity.WARNING)
