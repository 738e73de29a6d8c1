"""Validators for the fields of the models; each refuses with the key, what must be, and what was got."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sized
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs
from attrs import frozen

from tcpbalance.config.addresses import MAX_PORT, NOT_AN_ENDPOINT, Address
from tcpbalance.config.bounds import MAX_NAME_LENGTH
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.messages import choices, value_text
from tcpbalance.errors import SettingError

T = TypeVar("T")
Validator: TypeAlias = "Callable[[Any, attrs.Attribute[T], T], None]"

_CONGESTION = re.compile(r"[A-Za-z0-9_-]{1,15}")


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...

    def __le__(self, other: Any, /) -> bool: ...


N = TypeVar("N", bound=_Ordered)


@frozen
class Bound:
    """A validator of numbers.

    :param allows: whether a number is within the bound.
    :param words: the bound, for messages and for the reference.
    """

    allows: Callable[[Any], bool]
    words: str

    def __call__(self, _: object, key: attrs.Attribute[Any], value: Any) -> None:
        """Refuse a value beyond the bound."""
        if not self.allows(value):
            raise InvalidValue(key.name, f"must be {self.words}, got {value_text(value)}")


def between(low: N, high: N) -> Validator[N]:
    """Allow values from ``low`` to ``high``, both included."""
    return Bound(lambda value: low <= value <= high, f"{low} to {high}")


def at_least(low: N) -> Validator[N]:
    """Allow ``low`` and what is larger."""
    return Bound(lambda value: low <= value, f"at least {low}")


longer_than_zero: Validator[Any] = Bound(lambda value: value > 0, "longer than 0s")
"""Refuses a duration of nothing, where it would end or repeat everything at once."""


def bounds(validator: object) -> Iterator[str]:
    """Give the words of the bounds in a validator, which attrs may have combined with others."""
    if isinstance(validator, Bound):
        yield validator.words
    for inner in (*getattr(validator, "_validators", ()), getattr(validator, "validator", None)):
        if inner is not None:
            yield from bounds(inner)


def less_than(other: str) -> Validator[Any]:
    """Refuse what is not less than another key's value, where that is there.

    :param other: the name of that key, which has to stand before this one.
    """

    def check(table: object, key: attrs.Attribute[Any], value: Any) -> None:
        limit = getattr(table, other)
        if limit is not None and not value < limit:
            raise InvalidValue(key.name, f"must be less than {other}, {limit}, got {value_text(str(value))}")

    return check


def not_less_than(other: str) -> Validator[Any]:
    """Refuse what is less than another key's value.

    :param other: the name of that key, which has to stand before this one.
    """

    def check(table: object, key: attrs.Attribute[Any], value: Any) -> None:
        limit = getattr(table, other)
        if value < limit:
            raise InvalidValue(key.name, f"must be at least {other}, {limit}, got {value_text(value)}")

    return check


def needs(*others: str, because: str = "") -> Validator[Any]:
    """Refuse what is given without any of the keys that give it an effect.

    :param others: the names of those keys.
    :param because: what they do.
    """

    def check(table: object, key: attrs.Attribute[Any], value: Any) -> None:
        if _says(key, value) and not any(is_given(table, other) for other in others):
            raise InvalidValue(key.name, f"has no effect without {choices(others)}{because}")

    return check


def needs_value(other: str, wanted: object) -> Validator[Any]:
    """Refuse what is given without the one value of another key that gives it an effect."""

    def check(table: object, key: attrs.Attribute[Any], value: Any) -> None:
        if _says(key, value) and getattr(table, other) != wanted:
            raise InvalidValue(key.name, f"has no effect without {other} = {value_text(wanted)}")

    return check


def not_with(other: str, unwanted: object) -> Validator[Any]:
    """Refuse what is given beside a value of another key that takes away its effect."""

    def check(table: object, key: attrs.Attribute[Any], value: Any) -> None:
        if _says(key, value) and getattr(table, other) == unwanted:
            raise InvalidValue(
                key.name, f"has no effect with {other} = {value_text(unwanted)}, leave out one of them"
            )

    return check


def is_given(table: Any, name: str) -> bool:
    """Whether a key of a table has a value with an effect.

    :raises CannotTell: its value could not be read.
    """
    value = getattr(table, name)
    return _says(getattr(attrs.fields(type(table)), name), value)


def _says(key: attrs.Attribute[Any], value: object) -> bool:
    """Whether a value is neither the default, nor empty, nor false."""
    return value is not False and value not in ((), key.default)


def at_most_elements(count: int) -> Validator[Any]:
    """Refuse a list of more than so many."""

    def check(_: object, key: attrs.Attribute[Sized], value: Sized) -> None:
        if len(value) > count:
            raise InvalidValue(key.name, f"must have at most {count} elements, got {len(value)}")

    return check


def not_empty(thing: str) -> Validator[Sized]:
    """Refuse a list of nothing.

    :param thing: what the list has to hold at least one of.
    """

    def check(_: object, key: attrs.Attribute[Sized], value: Sized) -> None:
        if not len(value):
            raise InvalidValue(key.name, f"must have at least one {thing}")

    return check


def name(_: object, key: attrs.Attribute[Any], value: str) -> None:
    """Refuse a name that could not be read in a log."""
    if mistake := mistake_in_name(value):
        raise InvalidValue(key.name, mistake)


def mistake_in_name(value: object) -> str | None:
    """Say why a name could not be read in a log, None where it could."""
    if not (isinstance(value, str) and value.isprintable() and value.strip()):
        return f"must be a name of printable characters, got {value_text(value)}"
    if len(value) > MAX_NAME_LENGTH:
        return f"must be a name of at most {MAX_NAME_LENGTH} characters, got {len(value)}"
    return None


def refuse_name(thing: str, name: object) -> None:
    """Refuse what is no name that can be read in a log.

    :param thing: what it is the name of, for the message.
    :raises SettingError: for anything else.
    """
    if mistake := mistake_in_name(name):
        raise SettingError(f"{thing}: name {mistake}")


def refuse_others(where: str, key: str, value: object, kind: type, *, optional: bool = False) -> None:
    """Refuse an object of another class.

    :param where: what the value belongs to, for the message.
    :param optional: whether None is allowed as well.
    :raises SettingError: for anything else.
    """
    if not isinstance(value, kind) and not (optional and value is None):
        or_none = " or None" if optional else ""
        raise SettingError(
            f"{where}: {key} must be of class {kind.__name__}{or_none}, got {value_text(value)}"
        )


def connectable(_: object, key: attrs.Attribute[Any], value: Address) -> None:
    """Refuse port 0, which stands for any free port and makes sense only to listen on."""
    if value.port == 0:
        raise InvalidValue(key.name, f"must have a port from 1 to {MAX_PORT}, got {value_text(str(value))}")


def listenable(_: object, key: attrs.Attribute[Any], value: tuple[Address, ...]) -> None:
    """Refuse no address, and an endpoint string, whose first word would be taken for a host name."""
    if not value:
        raise InvalidValue(key.name, "must have at least one address")
    for address in value:
        if address.is_endpoint:
            raise InvalidValue(key.name, f"{NOT_AN_ENDPOINT}, got {value_text(str(address))}")


def congestion_control(_: object, key: attrs.Attribute[Any], value: object) -> None:
    """Allow what can name a congestion control; Linux takes 15 bytes, ``TCP_CA_NAME_MAX`` less the NUL."""
    if not (isinstance(value, str) and _CONGESTION.fullmatch(value)):
        raise InvalidValue(
            key.name, f'must be the name of a congestion control such as "bbr", got {value_text(value)}'
        )
