"""One name stands for one thing: no two modules define a constant or a class of the same name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from support.documented import TREE


def constants_and_classes(tree: ast.Module) -> Iterator[str]:
    """Give the names of the constants and classes of a module."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
                continue
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                continue
        yield from (name for name in names if name.isupper() and len(name) > 1)


def test_a_constant_or_class_is_defined_once() -> None:
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted((TREE / "tcpbalance").rglob("*.py")):
        for name in constants_and_classes(ast.parse(file.read_text())):
            modules[name].append(str(file.relative_to(TREE)))
    assert {name: files for name, files in modules.items() if len(files) > 1} == {}


def test_constants_and_classes_are_found() -> None:
    tree = ast.parse("A_1 = 1\n_B: int = 2\nT = TypeVar('T')\n_log = 3\nALIAS = A_1\nclass C:\n    D_E = 4\n")
    assert [*constants_and_classes(tree)] == ["A_1", "_B", "ALIAS", "C"]
