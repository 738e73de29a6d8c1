"""Imports that keep no text: neither docstrings, nor the source of what attrs writes.

In all that a worker imports, docstrings of functions take 1.4 MiB. No worker shows a docstring, and it has
those of its modules and classes only because they are assigned by code.
"""

from __future__ import annotations

import gc
import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from inspect import CO_OPTIMIZED
from types import CodeType, ModuleType

_HAS_DOCSTRING = 0x4000000 if sys.version_info >= (3, 13) else CO_OPTIMIZED
"""The flag of code whose first constant is its docstring: CO_HAS_DOCSTRING, inspect(3). Before 3.13, that of
each function is, or None where it has none."""

_MIN_LENGTH = 24
"""Characters. The compiler has one constant for a docstring and the same text in the code: what is as long as
this is no text that a function works with."""


def without_docstrings(code: CodeType) -> CodeType:
    """Give code whose functions have no docstring."""
    constants = tuple(without_docstrings(it) if isinstance(it, CodeType) else it for it in code.co_consts)
    if code.co_flags & _HAS_DOCSTRING and not code.co_name.startswith("<"):
        match constants:
            case (str(text), *rest) if len(text) >= _MIN_LENGTH:
                constants = (None, *rest)
    return code if constants == code.co_consts else code.replace(co_consts=constants)


class _Loader(SourceFileLoader):
    """Loads a module without docstrings."""

    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        return None if code is None else without_docstrings(code)

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.__doc__ = None
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                with suppress(AttributeError, TypeError):
                    value.__doc__ = None


class _Finder:
    """Finds what is imported from files, on ``sys.meta_path``."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _forget_source(_phase: str, _info: Mapping[str, int]) -> None:
    linecache.clearcache()


@contextmanager
def lean_imports() -> Iterator[None]:
    """Have what is imported meanwhile keep no text.

    attrs keeps the source of each method that it writes, for tracebacks: 600 KiB in all. What is forgotten
    between imports, the next of them have the memory of; later no worker would.
    """
    gc.callbacks.append(_forget_source)
    sys.meta_path.insert(0, _Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_Finder)
        gc.callbacks.remove(_forget_source)
        linecache.clearcache()
