"""The files that a configuration reads: all of them are found, and can be given other places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs

from support.certificates import self_signed
from support.configs import load_text
from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.files import TABLES, read_files, with_files
from tcpbalance.config.models import Config
from tcpbalance.config.pools import AffinityConfig

TEXT = """
[access_log]
path = "access.log"

[frontends.web]
listen = "0.0.0.0:443"
pool = "web"

[frontends.web.access]
deny_file = "banned.txt"

[frontends.web.tls]
certificates = [{ cert = "web.pem", key = "web.key" }]
client_ca = "ca.pem"

[frontends.plain]
listen = "0.0.0.0:80"
pool = "web"

[pools.web]
backends = ["10.0.0.1:443"]

[pools.web.affinity]
by = "source_ip"
state_file = "web.affinity"

[pools.web.tls]
ca = "ca.pem"
"""

READ = ["banned.txt", "web.pem", "web.key", "ca.pem", "ca.pem"]


def config(folder: Path) -> Config:
    cert, key = self_signed(folder, "web.example")
    cert.rename(folder / "web.pem")
    key.rename(folder / "web.key")
    (folder / "ca.pem").write_text((folder / "web.pem").read_text())
    (folder / "banned.txt").write_text("")
    return load_text(folder, TEXT)


def test_files_that_are_read_are_found_and_those_that_are_written_are_not(tmp_path: Path) -> None:
    assert sorted(read_files(config(tmp_path))) == sorted(f"{tmp_path / name}" for name in READ)


def test_every_table_that_names_a_file_is_looked_through() -> None:
    named = {
        kind
        for kind in tables_of(Config)
        # One is written; those of the other are for the process that has the admin side, and for no worker.
        if kind not in (AffinityConfig, AdminConfig)
        for key in attrs.fields(kind)
        if "FilePath" in str(key.type)
    }
    assert named
    assert named <= set(TABLES)


def tables_of(kind: type[Any]) -> Iterator[type[Any]]:
    """Give the classes of all tables that stand in one."""
    yield kind
    attrs.resolve_types(kind)
    for key in attrs.fields(kind):
        for part in parts_of(key.type):
            if attrs.has(part):
                yield from tables_of(part)


def parts_of(kind: Any) -> Iterator[Any]:
    parts = get_args(kind)
    if not parts:
        yield kind
    for part in parts:
        yield from parts_of(part)


def test_files_get_other_places_and_nothing_else_changes(tmp_path: Path) -> None:
    before = config(tmp_path)
    after = with_files(before, lambda path: f"{path}.other")
    assert sorted(read_files(after)) == sorted(f"{tmp_path / name}.other" for name in READ)
    assert after != before
    assert with_files(after, lambda path: path.removesuffix(".other")) == before
    assert after.frontends["plain"] is before.frontends["plain"]
