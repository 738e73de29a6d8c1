"""The configurations that the documentation shows, and the files that they name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.certificates import Authority
from support.users import HASH

TREE = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str, mark: str) -> list[str]:
    """Give the blocks of a language that are whole, as their ``mark`` tells."""
    found = _BLOCK.findall(page.read_text())
    return [text for kind, text in found if kind == language and mark in text]


LINES = {"deny_file": b"192.0.2.0/24\n", "users_file": b"alice:%b\n" % HASH}
"""What is in a file that is a list, by the key that names it."""


def write_files(config: str, folder: Path) -> None:
    """Make all files that a configuration names, with something sound in them.

    :param folder: the configuration's.
    """
    authority = Authority.root("documented")
    document = tomllib.loads(config)
    for page in _pages(document):
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text("a page")
    for key, value in _values(document):
        if key in LINES:
            (folder / value).write_bytes(LINES[key])
        elif key in {"certificates", "certificate"}:
            for pair in value if isinstance(value, list) else [value]:
                issued = authority.issue(folder, "documented", "documented.example")
                issued.certificate.rename(folder / pair["cert"])
                issued.key.rename(folder / pair["key"])
        elif key in {"client_ca", "ca"}:
            authority.write(folder / value)
        elif key in {"client_crl", "crl"}:
            authority.revoke(folder / value)


def _pages(document: dict[str, Any]) -> Iterator[str]:
    """The files of answers."""
    for frontend in document.get("frontends", {}).values():
        yield from frontend.get("error_pages", {}).values()
        for route in frontend.get("routes", ()):
            if file := route.get("answer", {}).get("file"):
                yield file


def _values(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of the tables that name files."""
    for section in ("frontends", "pools"):
        for table in document.get(section, {}).values():
            for below in ("tls", "access", "connect"):
                yield from table.get(below, {}).items()
