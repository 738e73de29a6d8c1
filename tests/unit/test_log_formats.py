"""Each log format of the package names only values that its call gives."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import tcpbalance

PACKAGE = Path(tcpbalance.__file__).parent
LEVELS = {"debug", "info", "warn", "error", "critical", "failure"}


def log_calls() -> Iterator[object]:
    """Find the calls of loggers with a literal format, by file and line."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
            ):
                match node.args:
                    case [ast.Constant(value=str(text)), *_]:
                        place = f"{file.relative_to(PACKAGE)}:{node.lineno}"
                        yield pytest.param(text, given(node), id=place)


def given(call: ast.Call) -> set[str | None]:
    """Give the names of a call's values; None is among them for `**values`."""
    return {keyword.arg for keyword in call.keywords}


@pytest.mark.parametrize(("text", "values"), [*log_calls()])
def test_a_log_format_names_given_values(text: str, values: set[str | None]) -> None:
    fields = {
        name.partition(".")[0].removesuffix("()") for _, name, *_ in string.Formatter().parse(text) if name
    }
    assert None in values or fields <= {*values, "log_failure"}
