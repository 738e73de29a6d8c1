"""Models as far as they can be read, so that rules can look at a table in which other things are wrong.

A draft is an object of a model's class whose values have been checked one by one. What is wrong in it is
`UNREAD`: whatever is done with that raises `CannotTell`, so that a rule that needs it says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import attrs

from tcpbalance.config.errors import BrokenRules, InvalidValue, KeyPath, Mistake
from tcpbalance.config.messages import one_line
from tcpbalance.errors import SettingError

T = TypeVar("T")
Model = TypeVar("Model", bound=attrs.AttrsInstance)


class CannotTell(Exception):
    """A value is needed that could not be read."""


class _Unread:
    """A value that could not be read."""

    def _refuse(self, *_: object) -> NoReturn:
        raise CannotTell

    __getattr__ = __bool__ = __iter__ = __len__ = __contains__ = __getitem__ = __str__ = __fspath__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse


UNREAD: Any = _Unread()


class Mistakes(SettingError):
    """What is wrong in a value of a document.

    :ivar mistakes: all of them, with their paths from the value on.
    :ivar draft: the value as far as it could be read.
    """

    def __init__(self, mistakes: Iterable[Mistake], draft: Any) -> None:
        self.mistakes = tuple(mistakes)
        self.draft = draft
        super().__init__("; ".join(mistake.message for mistake in self.mistakes))


def checked_draft(
    kind: type[Model], values: Mapping[str, object], written: Collection[str] = ()
) -> tuple[Model, list[Mistake]]:
    """Make a draft of a model, and find what is wrong with each of its values.

    :param values: by the names of the fields; the others have their defaults, or are unread without one.
    :param written: the fields that count as given, even with the value of their default.
    """
    draft = object.__new__(kind)
    mistakes: list[Mistake] = []
    fields = attrs.fields(kind)
    for key in fields:
        value: object = UNREAD
        try:
            value = _converted(draft, key, values)
        except CannotTell:
            pass
        except Exception as error:  # a third party's class may raise what it likes
            mistakes.append(Mistake((key.name,), message_of(error)))
        object.__setattr__(draft, key.name, value)
    mistakes += filter(None, (_mistake_in(draft, key, written) for key in fields))
    return draft, mistakes


def _mistake_in(draft: object, key: attrs.Attribute[Any], written: Collection[str]) -> Mistake | None:
    """Find what the validator of a field has against its value."""
    value = getattr(draft, key.name)
    if value is UNREAD or key.validator is None:
        return None
    try:
        if key.name in written and value == key.default:
            # Without its default, what was written counts as given.
            key = key.evolve(default=attrs.NOTHING)
        key.validator(draft, key, value)  # type: ignore[misc]  # evolving has changed the default alone
    except CannotTell:
        return None
    except Exception as error:  # a third party's class may raise what it likes
        return Mistake((key.name,), message_of(error))
    return None


def _converted(draft: object, key: attrs.Attribute[Any], values: Mapping[str, object]) -> object:
    if key.name in values:
        value = values[key.name]
        convert: Any = key.converter
        return value if value is UNREAD or convert is None else convert(value)
    default: Any = key.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # typed as a function, it is a class
        return default.factory(draft) if default.takes_self else default.factory()
    return UNREAD if default is attrs.NOTHING else default


def checked(where: str, kind: type[Model], **values: object) -> Model:
    """Convert and check some values of a model, as the parts that take them one by one do.

    :param where: what they are values of, for the message.
    :returns: a draft with these values, and defaults for the others.
    :raises SettingError: for the first that is wrong.
    """
    draft, mistakes = checked_draft(kind, values)
    for mistake in mistakes:
        # A default may need what was not given.
        if mistake.path[0] in values:
            raise SettingError(f"{where}: {mistake.path[0]} {mistake.message}")
    return draft


def message_of(error: Exception) -> str:
    """Word what a converter, a validator or a class of a third party's has raised."""
    if isinstance(error, InvalidValue):
        return error.message
    plain = isinstance(error, ValueError | TypeError)
    return one_line(str(error) if plain else f"{type(error).__name__}: {error}")


def mistakes_at(step: str | int, error: Exception) -> tuple[Mistake, ...]:
    """Give what is wrong with a value, with paths that begin at what the value is in."""
    if isinstance(error, Mistakes | BrokenRules):
        return tuple(attrs.evolve(mistake, path=(step, *mistake.path)) for mistake in error.mistakes)
    return (Mistake((step,), message_of(error)),)


def readable(path: KeyPath, values: Iterable[T]) -> Iterator[tuple[KeyPath, T]]:
    """Give the elements of a list that could be read, each with where it stands."""
    if values is not UNREAD:
        yield from (((*path, index), value) for index, value in enumerate(values) if value is not UNREAD)


def tables(section: str, values: Mapping[str, T]) -> Iterator[tuple[KeyPath, T]]:
    """Give the tables of a section that could be read, each with where it stands."""
    if values is not UNREAD:
        yield from (((section, name), table) for name, table in values.items() if table is not UNREAD)
