"""What an operator changes of a configuration is what the file would say, and is refused as there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.configs import load_text
from support.configurations import configs
from tcpbalance.config.bounds import MAX_NAME_LENGTH
from tcpbalance.config.difference import difference
from tcpbalance.config.draft import Mistakes
from tcpbalance.config.errors import BrokenRules, InvalidValue
from tcpbalance.config.models import Config
from tcpbalance.config.plan import plan_lines
from tcpbalance.control.config_orders import read_backend, with_backend, with_weight, without_backend
from tcpbalance.errors import SettingError

FILE = """
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
[pools.web]
balance = "least_connections"
backends = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80", backup = true }]
[pools.other]
backends = ["10.0.0.3:80"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_text(tmp_path, FILE)


def plan(before: Config, after: Config) -> list[str]:
    return list(plan_lines(difference(before, after)))[:-1]


def test_a_weight_is_changed_and_nothing_else(config: Config) -> None:
    after = with_weight("web", "b", 7)(config)
    assert plan(config, after) == ["~ pools.web.backends.b.weight: 1 -> 7 (in place)"]
    assert after.pools["other"] is config.pools["other"]


def test_a_backend_is_added_and_removed(config: Config, tmp_path: Path) -> None:
    backend = read_backend({"address": "10.0.0.9:80", "name": "c", "max_connections": None}, tmp_path)
    after = with_backend("web", backend)(config)
    assert plan(config, after) == ["+ pools.web.backends.c: 10.0.0.9:80"]
    assert without_backend("web", "c")(after) == config


def test_a_relative_socket_is_in_the_folder_of_the_file(tmp_path: Path) -> None:
    assert str(read_backend({"address": "unix:app.sock"}, tmp_path).address) == f"unix:{tmp_path}/app.sock"


def test_what_is_wrong_with_a_backend_is_said_as_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(Mistakes) as refused:
        read_backend({"address": "nowhere", "weight": 0, "wait": 1}, tmp_path)
    assert [mistake.path for mistake in refused.value.mistakes] == [("address",), ("weight",), ("wait",)]


def test_what_a_file_may_not_have_is_refused(config: Config, tmp_path: Path) -> None:
    twice = read_backend({"address": "10.0.0.1:80", "name": "c"}, tmp_path)
    with pytest.raises(BrokenRules, match="is already the address of"):
        with_backend("web", twice)(config)
    with pytest.raises(InvalidValue, match="must have at least one backend without backup = true"):
        without_backend("web", "a")(config)
    with pytest.raises(InvalidValue, match="must have at least one backend"):
        without_backend("other", "10.0.0.3:80")(config)


def test_what_is_not_there_is_named(config: Config) -> None:
    with pytest.raises(SettingError, match='no pool is named "wep", did you mean "web"'):
        with_weight("wep", "a", 1)(config)
    with pytest.raises(SettingError, match='no backend is named "c", the backends are "a" and "b"'):
        without_backend("web", "c")(config)


@given(configs(), st.data(), st.integers(1, 256))
@settings(max_examples=50, deadline=None)
def test_any_weight_of_any_backend_can_be_changed_and_put_back(
    config: Config, data: st.DataObject, weight: int
) -> None:
    name = data.draw(st.sampled_from(sorted(config.pools)))
    backend = data.draw(st.sampled_from(config.pools[name].backends))
    assume(backend.weight != weight)
    after = with_weight(name, backend.name, weight)(config)
    (change,) = difference(config, after).changed
    assert (change.path, change.new) == (("pools", name, "backends", backend.name, "weight"), weight)
    assert with_weight(name, backend.name, backend.weight)(after) == config


@pytest.mark.parametrize("length", [MAX_NAME_LENGTH, MAX_NAME_LENGTH + 1, 3000])
def test_a_backend_has_a_name_of_bounded_length(tmp_path: Path, length: int) -> None:
    content = {"address": "10.0.0.13:80", "name": "x" * length}
    if length <= MAX_NAME_LENGTH:
        assert read_backend(content, tmp_path).name == "x" * length
    else:
        with pytest.raises(Mistakes, match=f"name of at most 300 characters, got {length}"):
            read_backend(content, tmp_path)


def test_the_longest_host_name_and_port_are_a_name(tmp_path: Path) -> None:
    address = f"{'.'.join(['x' * 63] * 3)}.{'x' * 61}:65535"
    assert read_backend({"address": address}, tmp_path).name == address
