"""The version of the program."""

from __future__ import annotations


def installed_version() -> str:
    """Read the version, which takes long."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tcpbalance")
    except PackageNotFoundError:
        return "(not installed)"
