"""The difference between two configurations names all that changes, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from support.configs import SMALLEST, backends, frontend, load_text, pool
from support.configurations import configs
from tcpbalance import read_config
from tcpbalance.config.addresses import Address
from tcpbalance.config.difference import Difference, KeyChange, difference
from tcpbalance.config.effects import EFFECTS, Effect
from tcpbalance.config.models import Config
from tcpbalance.config.plan import plan_document, plan_lines
from tcpbalance.config.pools import BackendConfig
from tcpbalance.config.routes import HttpRouteConfig


def between(folder: Path, old: str, new: str) -> Difference:
    return difference(load_text(folder, old), load_text(folder, new))


def test_one_configuration_has_no_difference_to_itself(tmp_path: Path) -> None:
    found = between(tmp_path, SMALLEST, SMALLEST)
    assert not found
    assert list(plan_lines(found)) == ["no change"]


@given(configs(), configs())
@settings(max_examples=100, deadline=None)
def test_tables_that_are_the_same_objects_make_no_difference(old: Config, new: Config) -> None:
    """As where only the tables with another text were read again."""
    shared: dict[str, Any] = {
        section: {
            name: before if (before := getattr(old, section).get(name)) == table else table
            for name, table in getattr(new, section).items()
        }
        for section in ("frontends", "pools")
    }
    assert difference(old, attrs.evolve(new, **shared)) == difference(old, new)


def test_a_key_that_changes(tmp_path: Path) -> None:
    found = between(tmp_path, SMALLEST, frontend('idle_timeout = "90m"'))
    assert found.changed == (
        KeyChange(("frontends", "db", "idle_timeout"), 3600.0, 5400.0, Effect.NEW_CONNECTIONS),
    )
    assert list(plan_lines(found)) == [
        '~ frontends.db.idle_timeout: "1h" -> "90m" (for new connections)',
        "changes: 1 key",
    ]


def test_a_table_that_is_added_is_one_change_of_its_key(tmp_path: Path) -> None:
    found = between(tmp_path, SMALLEST, pool('[pools.db.affinity]\nttl = "1m"'))
    (change,) = found.changed
    assert (change.path, change.old, change.effect) == (("pools", "db", "affinity"), None, Effect.IN_PLACE)
    assert next(plan_lines(found)) == "~ pools.db.affinity: absent -> a table (in place)"


def test_backends_by_their_names(tmp_path: Path) -> None:
    written = '[{{ name = "a", address = "10.0.0.1:1" }}, {}]'
    old = backends(written.format('{ name = "b", address = "10.0.0.2:1" }, "10.0.0.3:1"'))
    new = backends(written.format('{ name = "b", address = "10.0.0.4:1", weight = 2 }, "10.0.0.5:1"'))
    found = between(tmp_path, old, new)
    assert list(found.added) == [("pools", "db", "backends", "10.0.0.5:1")]
    assert list(found.removed) == [("pools", "db", "backends", "10.0.0.3:1")]
    assert found.draining == (("pools", "db", "backends", "10.0.0.3:1"), ("pools", "db", "backends", "b"))
    moved = '~ pools.db.backends.b.address: "10.0.0.2:1" -> "10.0.0.4:1"'
    assert list(plan_lines(found)) == [
        '+ pools.db.backends."10.0.0.5:1": 10.0.0.5:1',
        '- pools.db.backends."10.0.0.3:1": 10.0.0.3:1; drains',
        f"{moved} (for new connections; the backend at the old address drains)",
        "~ pools.db.backends.b.weight: 1 -> 2 (in place)",
        "begins: 1 backend; ends: 1 backend; drains: 2 backends; changes: 2 keys",
    ]


def test_another_order_of_backends(tmp_path: Path) -> None:
    found = between(
        tmp_path, backends('["10.0.0.1:1", "10.0.0.2:1"]'), backends('["10.0.0.2:1", "10.0.0.1:1"]')
    )
    (change,) = found.changed
    assert (change.path, change.new) == (("pools", "db", "backends"), ("10.0.0.2:1", "10.0.0.1:1"))


def test_a_frontend_of_another_name_keeps_its_listener(tmp_path: Path) -> None:
    found = between(tmp_path, SMALLEST, SMALLEST.replace("[frontends.db]", "[frontends.other]"))
    assert list(found.added) == [("frontends", "other")]
    assert list(found.removed) == [("frontends", "db")]
    assert (found.opened, found.closed) == ((), ())


def test_listeners_that_open_and_close(tmp_path: Path) -> None:
    found = between(tmp_path, SMALLEST, SMALLEST.replace("0.0.0.0:5432", "0.0.0.0:5433"))
    assert found.opened == (Address.parse("0.0.0.0:5433"),)
    assert found.closed == (Address.parse("0.0.0.0:5432"),)
    assert list(plan_lines(found))[-1] == "changes: 1 key; listeners: 1 opened, 1 closed"


def test_other_socket_options_are_for_new_connections_and_open_no_listener(tmp_path: Path) -> None:
    found = between(tmp_path, SMALLEST, '[frontends.db.socket]\nkeepalive = "60s"\n' + SMALLEST)
    assert (found.opened, found.closed) == ((), ())
    assert list(plan_lines(found)) == [
        '~ frontends.db.socket.keepalive: absent -> "1m" (for new connections)',
        "changes: 1 key",
    ]


@pytest.mark.parametrize(
    ("old", "new", "drains"),
    [
        ("ready", "drain", True),
        ("ready", "maintenance", True),
        ("drain", "maintenance", False),
        ("maintenance", "ready", False),
    ],
)
def test_a_backend_whose_state_changes(tmp_path: Path, old: str, new: str, drains: bool) -> None:
    written = '[{{ name = "a", address = "10.0.0.1:1", state = "{}" }}, "10.0.0.2:1"]'
    found = between(tmp_path, backends(written.format(old)), backends(written.format(new)))
    assert found.draining == ((("pools", "db", "backends", "a"),) if drains else ())
    drained = "drains: 1 backend; " if drains else ""
    assert list(plan_lines(found))[-1] == f"{drained}changes: 1 key"


def test_a_backend_that_moves_and_drains_is_counted_once(tmp_path: Path) -> None:
    old = backends('[{ name = "a", address = "10.0.0.1:1" }]')
    new = backends('[{ name = "a", address = "10.0.0.2:1", state = "drain" }]')
    assert between(tmp_path, old, new).draining == (("pools", "db", "backends", "a"),)


def test_keys_of_a_probe_stand_in_the_table_of_the_check(tmp_path: Path) -> None:
    table = '[pools.db.health]\ncheck = "full"\ntext = "{}"\n'
    found = between(tmp_path, pool(table.format("a")), pool(table.format("b")))
    assert found.changed == (KeyChange(("pools", "db", "health", "text"), "a", "b", Effect.IN_PLACE),)
    other = between(tmp_path, pool('[pools.db.health]\ncheck = "tcp"\n'), pool(table.format("a")))
    changed = {change.path[-1]: (change.old, change.new) for change in other.changed}
    assert changed["check"] == ("tcp", "full")
    assert changed["text"] == (None, "a")


SECRET_CHECKS = [
    'check = "expect"\nsend = "AUTH hunter{}"\ncontains = "ok"\n',
    'check = "http"\npath = "/?token=hunter{}"\n',
    'check = "command"\nargv = ["/bin/true", "hunter{}"]\n',
]


@pytest.mark.parametrize("check", SECRET_CHECKS)
def test_what_may_be_secret_is_in_no_plan(tmp_path: Path, check: str) -> None:
    def read(text: str) -> Config:
        file = tmp_path / "tcpbalance.toml"
        file.write_text(text)
        return read_config(file)

    one, other = (read(pool(f"[pools.db.health]\n{check.format(number)}")) for number in (1, 2))
    without, connects = read(SMALLEST), read(pool('[pools.db.health]\ncheck = "tcp"\n'))
    renamed = read(pool(f"[pools.db.health]\n{check.format(3)}").replace("db", "other"))
    for old, new in ((one, other), (without, other), (one, without), (connects, one), (one, renamed)):
        found = difference(old, new)
        assert found.changed or found.added
        text = "\n".join([json.dumps(plan_document(found)), *plan_lines(found)])
        assert "hunter" not in text


def test_of_probes_from_elsewhere_no_text_is_in_a_plan(tmp_path: Path) -> None:
    table = '[pools.db.health]\ncheck = "full"\ntext = "{}"\n'
    found = between(tmp_path, pool(table.format("hunter1")), pool(table.format("hunter2")))
    (line, _) = plan_lines(found)
    assert line.startswith('~ pools.db.health.text: "(hidden)" -> "(hidden)" (')


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    networks = ", ".join(f'"10.0.{number}.0/24"' for number in range(7))
    found = between(
        tmp_path,
        frontend('[frontends.db.access]\ndeny = ["10.0.0.0/24"]'),
        frontend(f"[frontends.db.access]\ndeny = [{networks}]"),
    )
    assert next(plan_lines(found)) == (
        '~ frontends.db.access.deny: ["10.0.0.0/24"] -> ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", '
        '"10.0.3.0/24", "10.0.4.0/24", 2 more] (for new connections)'
    )


def test_what_needs_a_restart(tmp_path: Path) -> None:
    found = between(tmp_path, SMALLEST, 'data_path = "portable"\n' + SMALLEST)
    assert [change.path for change in found.needing_restart] == [("data_path",)]
    assert list(plan_lines(found))[-1] == "changes: 1 key; needs a restart: 1 key"
    assert plan_document(found)["needs_restart"] == ["data_path"]


def test_a_document_for_programs(tmp_path: Path) -> None:
    old = backends('["10.0.0.1:1"]')
    new = frontend("backlog = 5").replace('["10.0.0.11:5432", "10.0.0.12:5432"]', '["10.0.0.2:1"]')
    assert plan_document(between(tmp_path, old, new)) == {
        "added": {
            'pools.db.backends."10.0.0.2:1"': {
                "address": "10.0.0.2:1",
                "name": "10.0.0.2:1",
                "weight": 1,
                "backup": False,
                "state": "ready",
            }
        },
        "removed": {
            'pools.db.backends."10.0.0.1:1"': {
                "address": "10.0.0.1:1",
                "name": "10.0.0.1:1",
                "weight": 1,
                "backup": False,
                "state": "ready",
            }
        },
        "changed": [{"key": "frontends.db.backlog", "old": 4096, "new": 5, "effect": "in place"}],
        "draining": ['pools.db.backends."10.0.0.1:1"'],
        "listeners_opened": [],
        "listeners_closed": [],
        "needs_restart": [],
    }


@given(configs(), configs())
@settings(max_examples=200, deadline=None)
def test_there_is_a_difference_where_configurations_are_not_equal(old: Config, new: Config) -> None:
    assert bool(difference(old, new)) == (old != new)
    assert not difference(old, old)


@given(configs(), configs())
@settings(max_examples=200, deadline=None)
def test_the_way_back_is_the_mirror_image(old: Config, new: Config) -> None:
    there, back = difference(old, new), difference(new, old)
    assert (dict(there.added), dict(there.removed)) == (dict(back.removed), dict(back.added))
    assert Counter(there.opened) == Counter(back.closed)
    assert Counter(there.closed) == Counter(back.opened)
    assert {(it.path, it.old, it.new, it.effect) for it in there.changed} == {
        (it.path, it.new, it.old, it.effect) for it in back.changed
    }


@given(configs(), configs())
@settings(max_examples=200, deadline=None)
def test_what_it_names_makes_one_configuration_of_the_other(old: Config, new: Config) -> None:
    found = difference(old, new)
    values = flat(old)
    for part in found.removed:
        values = {path: value for path, value in values.items() if path[: len(part)] != part}
    for part, table in found.added.items():
        values.update(flat(table, part))
    for change in found.changed:
        if change.path[-1] in ("backends", "routes"):
            continue  # their order
        values = {path: value for path, value in values.items() if path[: len(change.path)] != change.path}
        values.update(flat(change.new, change.path))
    assert values == flat(new)


def flat(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Give the values of a configuration by their paths, backends and routes by their names."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, tuple) and any(isinstance(it, BackendConfig) for it in value):
        items = [(it.name, it) for it in value]
    elif isinstance(value, tuple) and any(isinstance(it, HttpRouteConfig) for it in value):
        items = [(it.label, it) for it in value]
    elif type(value) in EFFECTS:
        items = [(key.name, getattr(value, key.name)) for key in attrs.fields(type(value))]
    elif path[-1:] == ("probe",):
        items, path = list(attrs.asdict(value).items()), path[:-1]
    elif path[-1:] in (("backends",), ("routes",)) or value is None:
        return {}
    else:
        return {path: value}
    return {key: item for name, below in items for key, item in flat(below, (*path, name)).items()}
