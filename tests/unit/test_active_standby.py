"""The example of a policy, as the how-to shows it."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.distributions import pretend_installed
from support.pools import a_pool, names, some_backends
from tcpbalance.pool import extensions

EXAMPLE = Path(__file__).parents[2] / "examples" / "active_standby"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as pip would install it, by what its own pyproject.toml says."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    for group, entries in project["entry-points"].items():
        pretend_installed(tmp_path, project["name"], group, entries)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    yield
    sys.modules.pop("active_standby", None)


def test_the_first_that_can_serve_gets_everything() -> None:
    pool = a_pool(some_backends(1, 5, 1), balance="active_standby")
    assert {next(pool.selection.choices(None)).name for _ in range(20)} == {"a"}
    pool.mark_down(pool.backends[0], "refused")
    assert {next(pool.selection.choices(None)).name for _ in range(20)} == {"b"}
    pool.mark_up(pool.backends[0])
    assert names(list(pool.selection.choices(None))) == "abc"


def test_it_is_a_name_that_a_configuration_may_use() -> None:
    assert "active_standby" in extensions.policies()


def test_embedded_the_class_itself_will_do() -> None:
    from active_standby import ActiveStandby  # type: ignore[import-not-found] # on the path since `installed`

    pool = a_pool(some_backends(1, 1), balance=ActiveStandby)
    assert names(list(pool.selection.choices(None))) == "ab"
