"""The tokens that requests to the admin side must bring."""

from __future__ import annotations

from collections.abc import Callable

from tcpbalance.admission.token_files import TokenFileError, read_token, same_token, warning_of
from tcpbalance.config.admin import AdminConfig


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
        return tuple(filter(None, map(warning_of, self.files)))

    def is_outdated(self) -> bool:
        """See ``reload.Part``."""
        return False

    def prepare(self) -> Callable[[], None]:
        """See ``reload.Part``."""
        full, read_only = (None if path is None else read_token(path) for path in self._files)
        if full is not None and full == read_only:
            raise TokenFileError(same_token(*map(str, reversed(self._files))))

        def commit() -> None:
            before = self.full, self.read_only
            self.full, self.read_only = full, read_only
            if before != (full, read_only):
                self.on_change()

        return commit
