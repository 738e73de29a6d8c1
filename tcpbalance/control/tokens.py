"""The tokens that requests to the admin side must bring."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from tcpbalance.config.admin import AdminConfig
from tcpbalance.errors import Fault, TcpbalanceError

MIN_TOKEN = 16
"""Characters that a token has at least: a shorter one can be guessed."""

MAX_TOKEN = 4096
"""Bytes that are read of a file."""

_OTHERS = stat.S_IROTH | stat.S_IWOTH


class TokenFileError(TcpbalanceError):
    """The file of a token cannot be used."""

    fault = Fault.CONFIGURATION


class Tokens:
    """What a ``Reloader`` keeps up to date with the files; see ``guard.TokensInUse``.

    :param config: names the files.
    :ivar on_change: called when the tokens are others.
    :raises TokenFileError: a file cannot be used.
    """

    def __init__(self, config: AdminConfig) -> None:
        self._files = (config.token_file, config.read_only_token_file)
        self.full: bytes | None = None
        self.read_only: bytes | None = None
        self.on_change: Callable[[], object] = lambda: None
        self.prepare()()

    @property
    def files(self) -> tuple[str, ...]:
        """See ``reload.Part``."""
        return tuple(path for path in self._files if path is not None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """See ``reload.Part``."""
        return tuple(
            f"{path} can be read or written by all users of this machine: chmod 0600 {path}"
            for path in self.files
            if _is_open_to_others(path)
        )

    def is_outdated(self) -> bool:
        """See ``reload.Part``."""
        return False

    def prepare(self) -> Callable[[], None]:
        """See ``reload.Part``."""
        full, read_only = map(_read, self._files)
        if full is not None and full == read_only:
            raise TokenFileError(f"{self._files[1]}: must have another token than {self._files[0]}")

        def commit() -> None:
            before = self.full, self.read_only
            self.full, self.read_only = full, read_only
            if before != (full, read_only):
                self.on_change()

        return commit


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
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


def _is_open_to_others(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & _OTHERS)
    except OSError:
        return False
