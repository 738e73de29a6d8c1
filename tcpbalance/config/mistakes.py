"""Turns the tree of errors that cattrs raises into a flat list of mistakes, each with the path of its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from tcpbalance.config.converter import key_names
from tcpbalance.config.errors import BrokenRules, KeyPath, Mistake, Refusal
from tcpbalance.config.messages import one_line, unknown_key


def mistakes(error: BaseValidationError, document: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield each mistake in a tree of errors.

    :param error: what structuring the document raised.
    :param document: the document, which tells what the operator wrote as a table and what as a plain value.
    """
    for mistake in _walk(error, ()):
        yield attrs.evolve(mistake, path=_grounded(mistake.path, document))


def _walk(error: BaseValidationError, path: KeyPath) -> Iterator[Mistake]:
    for fault in error.exceptions:
        below = (*path, *_step(fault))
        if isinstance(fault, BaseValidationError):
            yield from _walk(fault, below)
        elif isinstance(fault, BrokenRules):
            # Whoever reads a document checks the rules on the document, which is there even when no model is.
            continue
        elif isinstance(fault, ForbiddenExtraKeysError):
            for name in sorted(fault.extra_fields):
                yield Mistake((*below, name), unknown_key(name, key_names(fault.cl)))
        elif isinstance(fault, Refusal):
            # One that a field's validator raised when the whole object was made has no note of its key.
            yield Mistake(below if below != path else (*path, fault.key), fault.message)
        else:
            yield Mistake(below, _message(fault, error.cl))


def _step(fault: BaseException) -> KeyPath:
    """Give the key or index at which cattrs met a fault; of its notes, the last was made furthest out."""
    for note in reversed(getattr(fault, "__notes__", [])):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (note.index,)
    return ()


def _message(fault: BaseException, kind: Any) -> str:
    if isinstance(fault, KeyError) and attrs.has(kind) and fault.args[0] in key_names(kind):
        return _required(attrs.fields_dict(kind)[fault.args[0]])
    if isinstance(fault, ValueError | TypeError):
        return one_line(str(fault))
    return one_line(f"{type(fault).__name__}: {fault}")


def _required(key: attrs.Attribute[Any]) -> str:
    example = key.metadata.get("example")
    return f"is required, such as {key.name} = {example}" if example else "is required"


def _grounded(path: KeyPath, document: Mapping[str, Any]) -> KeyPath:
    """Cut off what goes deeper than the file, as for the address of a backend written as a plain string."""
    value: Any = document
    for depth, part in enumerate(path):
        if not isinstance(value, dict | list):
            return path[:depth]
        value = value.get(part) if isinstance(value, dict) else value[int(part)]
    return path
