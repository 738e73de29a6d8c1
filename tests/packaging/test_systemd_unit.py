"""systemd understands every line of the example unit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.programs import find

UNIT = Path(__file__).parents[2] / "examples" / "systemd" / "tcpbalance.service"


def verify(text: str, folder: Path) -> str:
    """Give what systemd has to say about a unit whose program is one that every machine has."""
    unit = folder / UNIT.name
    unit.write_text(text.replace("/opt/tcpbalance/bin/tcpbalance", "/bin/true"))
    command = [str(find("systemd-analyze")), "verify", str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.requires("systemd-analyze")
def test_systemd_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    assert verify(UNIT.read_text(), tmp_path) == ""


@pytest.mark.requires("systemd-analyze")
def test_it_would_complain(tmp_path: Path) -> None:
    assert "LimitNOFILES" in verify(UNIT.read_text().replace("LimitNOFILE", "LimitNOFILES"), tmp_path)
