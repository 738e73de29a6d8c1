"""The programs that tests put around the balancer: where they are, and what their absence means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Servers are here; the search path of a user who is not root often leaves these out."""

DEBIAN_POSTGRESQL = Path("/usr/lib/postgresql")
"""Debian keeps initdb and postgres in one folder a version, off the search path."""


def in_ci() -> bool:
    """Whether a missing program is a failure: the environment has ``CI=true``."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def find(program: str) -> str | None:
    """The full path of a program, or None where the machine lacks it."""
    return shutil.which(program, path=os.pathsep.join(_folders()))


def missing(*programs: str) -> str:
    """The names of those of ``programs`` that the machine lacks, with commas; empty when all are there."""
    return ", ".join(program for program in programs if find(program) is None)


def require(*programs: str) -> tuple[str, ...]:
    """Go on only where every one of ``programs`` is installed.

    :returns: their full paths, in the order asked for.
    :raises pytest.skip.Exception: outside CI, with the names of what is missing.
    :raises pytest.fail.Exception: in CI, where everything has to be there.
    """
    found = [find(program) for program in programs]
    if None in found:
        _do_without(missing(*programs))
    return tuple(path for path in found if path is not None)


def _do_without(names: str) -> None:
    reason = f"not installed: {names}"
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _folders() -> list[str]:
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [*path, *ADMIN_FOLDERS, *_postgresql_folders()]


def _postgresql_folders() -> list[str]:
    versions = [folder for folder in DEBIAN_POSTGRESQL.glob("*/bin") if folder.parent.name.isdigit()]
    newest_first = sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    return [str(folder) for folder in newest_first]
