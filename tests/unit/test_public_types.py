"""Public names have types: none is Any, and what the documentation shows passes a strict type checker."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import tcpbalance
from support.documented import TREE, blocks
from support.process import finish

PAGES = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]
ABOUT_CODE = [TREE / "docs" / "explanation" / "adding-an-option.md"]
"""What describes how tcpbalance itself is changed."""
PROGRAMS = [file for file in sorted((TREE / "examples").rglob("*.*")) if file.suffix in {".py", ".tac"}]

KNOWN = {
    "Probe.check": "what a coroutine awaits of Twisted's is of no type of ours",
}


def signatures() -> Iterator[tuple[str, Any]]:
    """The functions that are public, and the methods of what is, with their names."""
    for name in tcpbalance.__all__:
        public = getattr(tcpbalance, name)
        if inspect.isfunction(public):
            yield name, public
        if inspect.isclass(public):
            yield from methods(public)


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] != "tcpbalance":
            continue
        yield base.__name__, base
        for name, value in vars(base).items():
            function = getattr(value, "__func__", getattr(value, "fget", value))
            if inspect.isfunction(function) and is_public(name, base):
                yield f"{base.__name__}.{name}", function


def is_public(name: str, kind: type) -> bool:
    """Whether a method is called from outside, and has annotations of its own.

    A model's ``__init__`` takes what its converters take, which the type checker sees and Python does not.
    """
    return not name.startswith("_") or (name == "__init__" and not attrs.has(kind))


def test_no_public_signature_has_any() -> None:
    untyped = {
        name
        for name, what in signatures()
        for part, hint in inspect.get_annotations(what).items()
        if not part.startswith("_") and re.search(r"\bAny\b", str(hint))
    }
    assert untyped == set(KNOWN)


def test_the_documentation_imports_from_the_package_alone() -> None:
    texts = {file: file.read_text() for file in [*PAGES, *PROGRAMS] if "_build" not in file.parts}
    for page in ABOUT_CODE:
        del texts[page]
    inside = [
        f"{file.relative_to(TREE)}: {line}"
        for file, text in texts.items()
        for line in re.findall(r"(?:from|import) tcpbalance\..*|`tcpbalance(?:\.\w+)+\.[A-Z]\w+`", text)
    ]
    assert inside == []


@pytest.mark.timeout(300)  # without a cache, it is all of Twisted that is read
def test_what_the_documentation_shows_passes_a_strict_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy_zope")
    pages = [page for page in PAGES if "_build" not in page.parts]
    shown = [text for page in pages for text in blocks(page, "python", "import ")]
    assert len(shown) > 5
    for number, text in enumerate(shown):
        (tmp_path / f"shown{number}.py").write_text(text)
    options = ["--config-file", f"{TREE}/pyproject.toml", "--cache-dir", f"{TREE}/.mypy_cache"]
    checked = finish(
        [sys.executable, "-m", "mypy", *options, *map(str, tmp_path.glob("*.py"))], 290.0, cwd=TREE
    )
    found = [line for line in checked.stdout.splitlines() if ": error: " in line]
    # Much of what Twisted offers to applications is not annotated.
    assert [line for line in found if not line.endswith("[no-untyped-call]")] == []
    assert re.search(r"checked \d+ source files", checked.stdout), checked.stdout + checked.stderr
