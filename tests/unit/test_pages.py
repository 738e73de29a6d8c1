"""The pages of the project name files, classes and pages that exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from support.documented import TREE
from tcpbalance.http.answers import STATUS_OF
from tcpbalance.proxy.reasons import EndReason

SOURCE = TREE / "tcpbalance"
ABOUT_CODE = [TREE / "ARCHITECTURE.md", TREE / "CONTRIBUTING.md", *sorted((TREE / "docs").rglob("*.md"))]
LINKED = [TREE / "README.md", TREE / "newsfragments" / "README.md", *ABOUT_CODE]

_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")
_FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.py)(?:: ([\w.]+))?`")
_FOLDER = re.compile(r"`((?:[\w.-]+/)+)`")


def places(pages: list[Path], pattern: re.Pattern[str]) -> Iterator[object]:
    """Find what a pattern names, with its page."""
    for page in pages:
        if "_build" not in page.parts:
            for number, found in enumerate(pattern.finditer(page.read_text())):
                yield pytest.param(page, *found.groups(), id=f"{page.relative_to(TREE)}-{number}")


@pytest.mark.parametrize(("page", "link"), [*places(LINKED, _LINK)])
def test_a_link_leads_to_a_page(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


@pytest.mark.parametrize(("page", "file", "name"), [*places(ABOUT_CODE, _FILE)])
def test_a_file_exists_and_has_the_class_that_is_named(page: Path, file: str, name: str | None) -> None:
    found = [folder / file for folder in (SOURCE, TREE, page.parent) if (folder / file).exists()]
    assert found, f"no {file}"
    if name is not None:
        text = found[0].read_text()
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", text), f"no {part} in {file}"


def test_the_drawing_has_the_layers_that_are_checked_in_their_order() -> None:
    contracts = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    drawing = (TREE / "ARCHITECTURE.md").read_text().partition("```text")[2].partition("```")[0]
    shown = re.findall(r"\b([a-z_]+)(?:\.py|/)", drawing)
    places = [
        [shown.index(name) for name in re.findall(r"tcpbalance\.(\w+)", layer) if name != "__main__"]
        for layer in layers
    ]
    for above, below in pairwise(filter(None, places)):
        assert max(above) < min(below), f"{[shown[place] for place in (*above, *below)]} in the drawing"


def test_every_end_reason_has_its_entry() -> None:
    page = (TREE / "docs" / "reference" / "end-reasons.md").read_text()
    entries = re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^(`.*`)\n: ", page, re.MULTILINE)))
    assert sorted(entries) == sorted(reason.word for reason in EndReason)


def test_the_status_of_each_answer_is_shown() -> None:
    page = (TREE / "docs" / "reference" / "end-reasons.md").read_text()
    rows = re.findall(r"^\| ([0-9]{3}\b[^|]*) \| ([^|]*) \|$", page, re.MULTILINE)
    shown = {int(status): reasons for statuses, reasons in rows for status in re.findall(r"\d+", statuses)}
    for reason, status in STATUS_OF.items():
        assert f"`{reason.word}`" in shown[status]


@pytest.mark.parametrize(("page", "folder"), [*places(ABOUT_CODE[:2], _FOLDER)])
def test_a_folder_exists(page: Path, folder: str) -> None:
    assert any((root / folder).is_dir() for root in (SOURCE, TREE)), f"no {folder}"
