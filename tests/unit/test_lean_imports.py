"""Modules that are imported for workers have no docstrings, and are the same but for that."""

from __future__ import annotations

import importlib
import linecache
import sys
from pathlib import Path

import pytest

from tcpbalance.workers.lean_imports import lean_imports, without_docstrings

MODULE = '''\
"""A module that says what it is for."""

class Thing:
    """A thing that has a docstring of its own."""

    def value(self):
        """Give the value that is meant by that."""
        def inner():
            """Give it, where it is asked for inside."""
            return "the value of what is inside"
        return inner()

def undocumented():
    return "this is what it returns, and no docstring"

def short():
    """text"""
    return "text"

spoken = lambda: "this is what the lambda returns"
listed = ["this is an element of the list" for _ in range(2)]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "with_docstrings.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "with_docstrings", raising=False)
    return tmp_path


def test_what_is_imported_has_no_docstrings_and_works(folder: Path) -> None:
    before = list(sys.meta_path)
    with lean_imports():
        module = importlib.import_module("with_docstrings")
    assert sys.meta_path == before
    thing = module.Thing()
    documented = [module, module.Thing, module.Thing.value, module.undocumented]
    assert [it.__doc__ for it in documented] == [None] * 4
    assert thing.value() == "the value of what is inside"
    assert module.undocumented() == "this is what it returns, and no docstring"
    assert module.short() == "text"
    assert module.spoken() == "this is what the lambda returns"
    assert module.listed == ["this is an element of the list"] * 2
    assert module.__file__ == str(folder / "with_docstrings.py")


def test_what_is_imported_later_has_them(folder: Path) -> None:
    with lean_imports():
        pass
    module = importlib.import_module("with_docstrings")
    assert module.Thing.value.__doc__ == "Give the value that is meant by that."


def test_code_without_docstrings_is_left_as_it_is() -> None:
    code = compile("def f(): return 'this is what it returns, and no docstring'", "file", "exec")
    assert without_docstrings(code) is code


def test_no_source_is_kept_of_what_attrs_writes(folder: Path) -> None:
    (folder / "with_attrs.py").write_text("import attrs\n@attrs.define\nclass Point:\n    x: int\n")
    linecache.clearcache()
    with lean_imports():
        importlib.import_module("with_attrs")
    del sys.modules["with_attrs"]
    assert not linecache.cache
