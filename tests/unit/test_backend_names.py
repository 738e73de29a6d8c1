"""Which backend a command means."""

from __future__ import annotations

from typing import Any

import pytest

from tcpbalance.cli.backend_names import find_named
from tcpbalance.cli.command_error import REFUSED, CommandError

POOLS: list[dict[str, Any]] = [
    {"name": "web", "backends": [{"name": "a"}, {"name": "unix:/run/x"}, {"name": "both"}]},
    {"name": "api", "backends": [{"name": "b"}, {"name": "both"}, {"name": "web/a"}]},
]


@pytest.mark.parametrize(
    ("text", "pool", "backend"),
    [
        ("a", "web", "a"),
        ("web/a", "web", "a"),
        ("unix:/run/x", "web", "unix:/run/x"),
        ("web/unix:/run/x", "web", "unix:/run/x"),
        ("api/both", "api", "both"),
        ("api/web/a", "api", "web/a"),
    ],
)
def test_it_is_found(text: str, pool: str, backend: str) -> None:
    assert find_named(POOLS, text)[:2] == (pool, backend)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("both", 'several backends are named "both": "web/both" and "api/both"'),
        ("wep/a", 'no backend is named "wep/a", did you mean "web/a"?'),
        (
            "q",
            (
                'no backend is named "q", the backends are "web/a", "web/unix:/run/x", "web/both", "api/b", '
                '"api/both" and "api/web/a"'
            ),
        ),
    ],
)
def test_it_is_not(text: str, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        find_named(POOLS, text)
    assert str(caught.value) == message
    assert caught.value.status == REFUSED


def test_there_are_none() -> None:
    with pytest.raises(CommandError, match="there are no backends"):
        find_named([], "a")
