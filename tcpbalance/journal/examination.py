"""Finds what is wrong with the file of an affinity journal, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tcpbalance.config.errors import KeyPath, Mistake, Severity
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.journal.frames import JOURNAL_HEADER


def mistakes_in_state_file(path: KeyPath, config: AffinityConfig) -> Iterator[Mistake]:
    """Look at the file that an affinity table names; nothing that is wrong with it stops a start.

    :param path: where the table stands.
    """
    if config.state_file is None:
        return
    file = os.path.realpath(config.state_file)
    mistake = _mistake_in_folder(os.path.dirname(file)) or _mistake_in_content(file)
    if mistake is not None:
        yield Mistake((*path, "state_file"), mistake, Severity.WARNING)


def _mistake_in_folder(folder: str) -> str | None:
    if not os.path.isdir(folder):
        return f"there is no folder {folder}, create it"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this user may not write in {folder}, the user that runs tcpbalance has to"
    return None


def _mistake_in_content(file: str) -> str | None:
    if not os.path.exists(file):
        return None
    if not os.path.isfile(file):
        return f"{file} is not a regular file, name another"
    try:
        with open(file, "rb") as opened:
            start = opened.read(len(JOURNAL_HEADER))
    except OSError as error:
        return f"cannot read {file}: {(error.strerror or str(error)).lower()}"
    if start not in (b"", JOURNAL_HEADER):
        return f"{file} is not an affinity journal of this version, and a start gives it another name"
    return None
