"""What went wrong in one place, while the rest of the run goes on."""

from __future__ import annotations

import re

_FOLDERS = re.compile(r"/(?:[^\s/:'\"]+/)+")


class Failed(Exception):
    """A contestant did not start, or a figure could not be taken; the message says why, without folders."""

    def __init__(self, reason: str) -> None:
        super().__init__(without_folders(reason))


def without_folders(text: str) -> str:
    """Leave of each path its last part, because results are published and folders are this machine's."""
    return _FOLDERS.sub("", text)


def last_lines(text: str, count: int = 1) -> str:
    """Give the last lines that say something, which is where programs tell why they ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-count:]) if lines else "it printed nothing"
