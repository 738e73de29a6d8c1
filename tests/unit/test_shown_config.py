"""A configuration as the API shows it: in the shape of the file, without what may be secret."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given

from support.configs import EVERYTHING, FullProbe, load_text, pool
from support.configurations import configs
from support.toml_writer import TomlWriter
from tcpbalance import read_config
from tcpbalance.config.errors import ConfigError
from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.models import Config
from tcpbalance.config.shown import shown_config
from tcpbalance.control.in_pieces import at_once

SECRET = "hunter2"


def shown(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = at_once(shown_config(config))
    # What has no form in JSON would be an error.
    assert json.loads(json.dumps(found)) == found
    return found


def written(table: dict[str, Any]) -> str:
    writer = TomlWriter(random.Random(1))
    writer.document(table)
    return writer.text


def loaded(table: dict[str, Any], load: Callable[[str], Config]) -> Config:
    """Load what is shown, without the defaults of keys that may not be written where they have no effect."""
    while True:
        try:
            return load(written(table))
        except ConfigError as error:
            for problem in error.problems:
                assert "has no effect" in problem.message, problem
                *parents, key = problem.path
                below: Any = reduce(lambda its, step: its[step], parents, cast(Any, table))
                del below[key]


def test_what_is_shown_can_be_loaded_and_is_the_same(tmp_path: Path) -> None:
    config = load_text(tmp_path, EVERYTHING)
    assert loaded(shown(config), lambda text: load_text(tmp_path, text)) == config


@pytest.mark.parametrize("name", ["http", "mysql", "postgresql", "redis"])
def test_each_example_can_be_loaded_as_it_is_shown(tmp_path: Path, name: str) -> None:
    config = read_config(Path(__file__).parents[2] / "examples" / f"{name}.toml")
    again = tmp_path / "again.toml"

    def load(text: str) -> Config:
        again.write_text(text)
        return read_config(again)

    # What its checks send is hidden in both.
    assert shown(loaded(shown(config), load)) == shown(config)


def test_quantities_are_shown_as_they_are_written(tmp_path: Path) -> None:
    text = EVERYTHING.replace('receive_buffer = "256KiB"', "receive_buffer = 1000")
    found = shown(load_text(tmp_path, f'workers = 2\n{text}\n[admin]\nlisten = "unix:a"\nmode = "0660"\n'))
    web = found["frontends"]["web"]
    assert (found["workers"], found["admin"]["mode"]) == (2, "0660")
    assert (web["preread_timeout"], web["limits"]["connect_rate_per_client"]) == ("5s", "50/s")
    assert (web["socket"]["receive_buffer"], web["socket"]["send_buffer"]) == (1000, "256KiB")
    assert web["limits"]["bandwidth_per_connection"] == "10MiB/s"
    assert found["pools"]["web"]["panic_threshold"] == "0%"
    assert found["pools"]["web"]["health"]["interval"] == "2s"
    assert found["frontends"]["secure"]["tls"]["certificates"][0]["key"] == str(tmp_path / "web.key")


@given(configs())
def test_any_can_be_shown(config: Config) -> None:
    found = shown(config)
    assert found["pools"].keys() == config.pools.keys()
    assert found["frontends"].keys() == config.frontends.keys()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (f'check = "expect"\nsend = "AUTH {SECRET}"\ncontains = "OK"', {"send": HIDDEN, "contains": "OK"}),
        (f'check = "http"\npath = "/health?token={SECRET}"', {"path": f"/health?{HIDDEN}"}),
        ('check = "http"\npath = "/health"', {"path": "/health"}),
        (f'check = "command"\nargv = ["ping", "{SECRET}"]', {"argv": ["ping", HIDDEN]}),
    ],
)
def test_what_a_check_sends_may_be_secret(tmp_path: Path, keys: str, expected: dict[str, Any]) -> None:
    file = tmp_path / "tcpbalance.toml"
    file.write_text(pool(f"\n[pools.db.health]\n{keys}\n"))
    found = shown(read_config(file))
    assert SECRET not in json.dumps(found)
    health = found["pools"]["db"]["health"]
    assert {key: health[key] for key in expected} == expected
    assert "probe" not in health


def test_of_a_check_from_elsewhere_no_text_is_shown(tmp_path: Path) -> None:
    text = pool(f'\n[pools.db.health]\ncheck = "full"\ntext = "{SECRET}"\nargv = ["{SECRET}"]\nnumber = 7\n')
    found = shown(load_text(tmp_path, text))
    assert SECRET not in json.dumps(found)
    assert found["pools"]["db"]["health"]["number"] == 7
    assert FullProbe.__name__ not in json.dumps(found)


def test_it_is_made_in_pieces(tmp_path: Path) -> None:
    pieces = sum(1 for _ in shown_config(load_text(tmp_path, EVERYTHING)))
    assert pieces > 10
