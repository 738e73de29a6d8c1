"""Fields of a model that check the plain type of what they are given."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import pytest
from attrs import field, frozen

from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.strict import strict


@frozen(kw_only=True, field_transformer=strict)
class Shared:
    """What a table shares with others."""

    last: int = 1


@frozen(kw_only=True, field_transformer=strict)
class Model(Shared):
    """Has a field of each kind."""

    first: int = 1
    maybe: float | None = None
    either: int | str = 1
    word: Literal["a", "b"] = "a"
    read: int = field(default=1, converter=int)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("first", None, "first must be a whole number, got None"),
        ("first", True, "first must be a whole number, got true"),
        ("last", "1", 'last must be a whole number, got "1"'),
        ("maybe", "1", 'maybe must be a number, got "1"'),
        ("word", "c", 'word must be one of "a" or "b", got "c"'),
        ("read", "one", "read invalid literal for int()"),
    ],
)
def test_refused(key: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Model(**{key: value})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("key", "value"), [("maybe", None), ("maybe", 1), ("either", "x"), ("read", "5")])
def test_allowed(key: str, value: Any) -> None:
    Model(**{key: value})


def test_what_is_shared_comes_last() -> None:
    assert [key.name for key in attrs.fields(Model)] == ["first", "maybe", "either", "word", "read", "last"]
