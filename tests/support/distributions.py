"""Distributions that look installed, so that their entry points are found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def pretend_installed(site: Path, name: str, group: str, entries: Mapping[str, str]) -> None:
    """Write what pip leaves behind of a distribution with these entry points.

    :param site: a folder that is, or will be, on ``sys.path``.
    """
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{entry} = {value}" for entry, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
