"""What ``tcpbalance check`` says of the file of an affinity journal; a start goes on all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.configs import pool
from tcpbalance.config_reader import read_config
from tcpbalance.journal import examination
from tcpbalance.journal.file import JournalFile
from tcpbalance.journal.frames import JOURNAL_HEADER


def warnings(folder: Path, file: str | Path, *, thorough: bool = True) -> list[str]:
    """What is reported of a file, without where the key stands."""
    config = folder / "tcpbalance.toml"
    config.write_text(pool(f'affinity.state_file = "{file}"'))
    found: list[str] = []
    read_config(config, lambda problem: found.append(str(problem)), thorough=thorough)
    where = f"{config}:7: warning: pools.db.affinity.state_file: "
    assert all(line.startswith(where) for line in found)
    return [line.removeprefix(where) for line in found]


def test_a_file_that_does_not_exist_yet_is_right(tmp_path: Path) -> None:
    assert warnings(tmp_path, "web.affinity") == []


def test_a_journal_is_right_also_while_it_is_in_use(tmp_path: Path) -> None:
    file = JournalFile(str(tmp_path / "web.affinity"))
    file.open()
    assert warnings(tmp_path, "web.affinity") == []
    file.replace([JOURNAL_HEADER])
    assert warnings(tmp_path, "web.affinity") == []
    file.close()


def test_without_its_folder_there_is_no_file(tmp_path: Path) -> None:
    assert warnings(tmp_path, "none/x") == [f"there is no folder {tmp_path}/none, create it"]


def test_a_start_says_so_itself(tmp_path: Path) -> None:
    assert warnings(tmp_path, "none/x", thorough=False) == []


@pytest.mark.parametrize(
    "text", ["[frontends.web]\n", JOURNAL_HEADER.decode()[:-1], "tcpbalance affinity journal 2\n"]
)
def test_a_foreign_file_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    assert warnings(tmp_path, "x") == [
        f"{tmp_path}/x is not an affinity journal of this version, and a start gives it another name"
    ]
    assert (tmp_path / "x").read_text() == text


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_found(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "x")
    assert warnings(tmp_path, "x") == [f"{tmp_path}/x is not a regular file, name another"]


def test_a_file_that_cannot_be_read_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x").touch()
    monkeypatch.setattr(examination, "open", fail, raising=False)
    assert warnings(tmp_path, "x") == [f"cannot read {tmp_path}/x: permission denied"]


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert warnings(tmp_path, "x") == [
        f"this user may not write in {tmp_path}, the user that runs tcpbalance has to"
    ]
