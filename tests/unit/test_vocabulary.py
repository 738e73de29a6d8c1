"""Texts for users have the field's words: those of the glossary, and none that these have replaced."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documented import TREE

PACKAGE = TREE / "tcpbalance"
PAGES = [
    *TREE.glob("*.md"),
    *sorted((TREE / "docs").rglob("*.md")),
    *sorted(TREE.glob("newsfragments/*.md")),
    *sorted(file for file in (TREE / "examples").rglob("*.*") if file.suffix != ".pyc"),
    *sorted(path for path in (TREE / "deploy").rglob("*") if path.is_file()),
    TREE / "bench" / "results" / "results.md",
]

REPLACED = {
    r"roads?": "data path",
    r"switchboard": "poller",
    r"legs?": "transport, or side",
    r"doors?|doorkeeper|gates?|latch": "listener, accepting, admission control",
    r"arrivals?|entrances?|introductions?|announcements?": "preread",
    r"trials?|on trial": "dry run",
    r"brakes?": "bandwidth limit",
    r"heed(s|ed)?|tell(s|ing)?|told|untold": "use, report, log",
    r"waiting rooms?|in vain": "queue, timed out",
    r"rests|resting": "cools down",
    r"bonds?|stand-ins?|(at|goes|go) home|homes": "sticky backend, fallback",
    r"goodbyes?": "close_notify",
    r"deaf|shaking": "write failed, handshaking",
    r"(breaks?|broke|broken|breaking) off": "resets, fails",
    r"mends?": "fixes, or what to do",
    r"complain(s|ed|ing|ts?)?": "reports, warning, error",
    r"rooms?|floors?|houses?": "capacity, package, layer",
    r"books?|blames?|blamed": "counts against",
    r"knocks?": "connects",
    r"who(ever|m|mever)?|(some|any|every|no)body": "a client, a backend, an operator",
    r"circles?": "cycle",
    r"by chance": "at random",
    r"sound": "valid, healthy",
    r"bad times|honestly": "a term that people search for",
}
"""Patterns of whole words, with what stands in their place."""

ALLOWED = {
    "make floors": "the target of the Makefile",
    "home directory": "of a user",
    "attacker who": "a person",
    "Restrict who": "likewise",
    "the arrival of": "of bytes",
    "import floor": "of numbers",
    "floor(": "likewise",
}
"""Texts with one of these words, with the reason."""

NAMES = (
    "account|arrival|bond|brake|complaints?|conduct|deaf|doorkeeper|doors?|entrance|gate|goodbye|heed|hurry"
    "|introduction|latch|legs?|mends?|(?<!at_)most|nobody|roads?|room|somebody|stand_in|switchboard|tell|tells|told"
    "|trial|untold|vain|welcome|whoever|whom|(?-i:HIGHEST|LARGEST|LEAST|LONGEST|WIDEST)"
)
"""Parts of names that the glossary has replaced."""

_OLD_NAME = re.compile(rf"(?:^|_)(?:{NAMES})(?:_|$)", re.IGNORECASE)
_OLD = re.compile(rf"(?<![\w-])(?:{'|'.join(REPLACED)})(?![\w-])", re.IGNORECASE)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)


def old_words(text: str) -> list[str]:
    """Give the replaced words of a text."""
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    return [found[0] for found in _OLD.finditer(text)]


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Give the line and the text of each string with several words that is no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, documented):
            # Also those behind a constant or a field, which stand as an expression of their own.
            docstrings |= {line.value for line in node.body if isinstance(line, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if node not in docstrings and " " in text.strip():
                yield node.lineno, text


def strings() -> Iterator[object]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, text in texts(ast.parse(file.read_text())):
            if old_words(text):
                yield f"{file.relative_to(TREE)}:{line}: {old_words(text)} in {text!r}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "_build" not in page.parts], ids=lambda page: page.name
)
def test_a_page_has_no_replaced_word(page: Path) -> None:
    text = _CODE.sub("", page.read_text())
    lines = [
        f"{number}: {old_words(line)}" for number, line in enumerate(text.splitlines(), 1) if old_words(line)
    ]
    assert lines == []


def test_no_message_has_a_replaced_word() -> None:
    assert [*strings()] == []


def test_no_comment_has_a_replaced_word() -> None:
    found = [
        f"{file.relative_to(TREE)}:{number}: {old_words(line)}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if old_words(line)
    ]
    assert found == []


def names(tree: ast.Module) -> Iterator[str]:
    """Give the names that a module defines: of classes, functions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def test_no_name_has_a_replaced_word() -> None:
    found = [
        f"{file.relative_to(TREE)}: {name}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for name in names(ast.parse(file.read_text()))
        if _OLD_NAME.search(name)
    ]
    assert found == ["tcpbalance/config/draft.py: Cannot_Tell", "tcpbalance/demo.py: WELCOME"]


def clocks_called_seconds(tree: ast.Module) -> Iterator[int]:
    """Give the lines of arguments that are a clock, and called like what it returns."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg="seconds", annotation=ast.Subscript(value=ast.Name(id="Callable"))):
                yield node.lineno


def test_a_clock_is_called_clock() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert [file for file in files if any(clocks_called_seconds(ast.parse(file.read_text())))] == []


def test_clocks_of_another_name_are_found() -> None:
    tree = ast.parse("def f(seconds: Callable[[], float]): ...\ndef g(seconds: float): ...")
    assert [*clocks_called_seconds(tree)] == [1]


@pytest.mark.parametrize("name", ["open_road", "told", "_LEG", "whom", "most", "has_room", "LARGEST_FILE"])
def test_replaced_names_are_found(name: str) -> None:
    assert _OLD_NAME.search(name)


@pytest.mark.parametrize("name", ["read_at_most", "utmost", "rooms_of"])
def test_other_names_are_not(name: str) -> None:
    assert not _OLD_NAME.search(name)


@pytest.mark.parametrize("text", ["a road", "Legs", "nobody is accepted", "who came", "broke off"])
def test_replaced_words_are_found(text: str) -> None:
    assert old_words(text)


@pytest.mark.parametrize("text", ["make floors", "a home directory", "railroads", "leg-less", "the whole"])
def test_other_words_are_not(text: str) -> None:
    assert not old_words(text)
