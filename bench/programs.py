"""Programs that may or may not be installed, and their versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from bench.errors import Failed

_ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Servers are here; the search path of a user who is not root often leaves these out."""

_VERSION = re.compile(r"\d+\.\d+[\w.+~-]*")


def find(program: str) -> str | None:
    """Give the full path of a program, or None where the machine lacks it."""
    folders = [os.environ.get("PATH", os.defpath), *_ADMIN_FOLDERS]
    return shutil.which(program, path=os.pathsep.join(folders))


def path_of(program: str) -> str:
    """Give the full path of a program.

    :raises Failed: where the machine lacks it.
    """
    path = find(program)
    if path is None:
        raise Failed(f"{program} is not installed")
    return path


def version(command: Sequence[str], pattern: re.Pattern[str] = _VERSION) -> str:
    """Give the first version that a program prints when asked with `command`, whatever its status."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    found = pattern.search(done.stdout + done.stderr)
    return found[0] if found else "unknown"
