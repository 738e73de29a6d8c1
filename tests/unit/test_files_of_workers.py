"""Files as a worker has them: those of the configuration in use, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from support.configs import load_text
from tcpbalance.config.models import Config
from tcpbalance.config.paths import FilePath
from tcpbalance.workers.files import Files, HandedFiles

TEXT = """
[frontends.web]
listen = "0.0.0.0:443"
pool = "web"

[frontends.web.access]
deny_file = "banned.txt"

[pools.web]
backends = ["10.0.0.1:443"]
"""


class Stage:
    """The supervisor's files and those of a worker, which are of one process here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "banned.txt").write_text("")
        self.config = load_text(folder, TEXT)
        self.read: Files | None = None
        self.handed = HandedFiles()

    def naming(self, name: str, text: str) -> Config:
        (self.folder / name).write_text(text)
        frontend = self.config.frontends["web"]
        assert frontend.access is not None
        access = attrs.evolve(frontend.access, deny_file=FilePath(self.folder / name))
        return attrs.evolve(self.config, frontends={"web": attrs.evolve(frontend, access=access)})

    def hand(self, config: Config, *, commits: bool = True) -> str:
        """Have the worker get a configuration; give what it reads in the deny file."""
        files = Files.of(config, self.read)
        new = files.new_since(self.read)
        self.handed.stage(new, new.values())
        change = self.handed.begin()
        access = change.put_into(config).frontends["web"].access
        assert access is not None
        assert access.deny_file is not None
        text = Path(access.deny_file).read_text()
        if commits:
            self.read = files
            change.commit()
        else:
            change.abandon()
        return text

    @property
    def count(self) -> int:
        return len(self.handed._known)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    for descriptor in made.handed._known.values():
        os.close(descriptor)
    made.read = None


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_worker_reads_what_was_handed_over(stage: Stage) -> None:
    config = stage.naming("banned.txt", "10.0.0.0/8\n")
    assert stage.hand(config) == "10.0.0.0/8\n"
    (stage.folder / "banned.txt").unlink()
    assert stage.hand(config) == "10.0.0.0/8\n"


def test_what_changes_takes_the_place_of_what_was(stage: Stage) -> None:
    assert [stage.hand(stage.naming("banned.txt", text)) for text in ("", "10.0.0.0/8\n")] == [
        "",
        "10.0.0.0/8\n",
    ]
    assert stage.count == 1


def test_what_is_abandoned_does_not_count(stage: Stage) -> None:
    before = stage.naming("banned.txt", "")
    assert stage.hand(before) == ""
    assert stage.hand(stage.naming("banned.txt", "10.0.0.0/8\n"), commits=False) == "10.0.0.0/8\n"
    (stage.folder / "banned.txt").unlink()
    assert stage.hand(before) == ""


def test_a_file_that_is_named_no_more_is_given_back(stage: Stage) -> None:
    stage.hand(stage.naming("first.txt", ""))
    before = descriptors()
    for number in range(5):
        stage.hand(stage.naming(f"{number}.txt", f"10.0.0.{number}\n"))
    assert stage.count == 1
    assert descriptors() == before
