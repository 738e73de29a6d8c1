"""What import-linter cannot see: which parts of another distribution a package imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tcpbalance.pool

ALLOWED = {"twisted.logger", "twisted.python.failure", "twisted.internet.interfaces"}
"""Words for the log and the clock that is handed in; nothing that reads, writes, connects or listens."""


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_a_pool_knows_nothing_of_twisteds_network() -> None:
    modules = list(Path(str(tcpbalance.pool.__file__)).parent.rglob("*.py"))
    assert len(modules) > 10
    found = {name for module in modules for name in imported(module) if name.startswith("twisted")}
    assert found <= ALLOWED
