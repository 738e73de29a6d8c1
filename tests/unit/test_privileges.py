"""The program becomes another user: which, when it may, and that it has no other rights then."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from support.configs import SMALLEST, load_text
from tcpbalance.privileges import Identity, IdentityError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

DAEMON = pwd.getpwnam("daemon")


def identity(folder: Path, keys: str) -> Identity | None:
    return Identity.of(load_text(folder, keys + SMALLEST))


def after_becoming(made: Identity) -> dict[str, Any]:
    """Become it in a child process, and give what the child finds of itself."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            made.become()
            found: dict[str, Any] = {
                "uids": os.getresuid(),
                "gids": os.getresgid(),
                "groups": sorted(os.getgroups()),
            }
            try:
                os.setuid(0)
                found["is_root_again"] = True
            except PermissionError:
                found["is_root_again"] = False
            os.write(writer, json.dumps(found).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read()
    os.waitpid(pid, 0)
    read: dict[str, Any] = json.loads(text)
    return read


def test_without_the_keys_it_stays_what_it_is(tmp_path: Path) -> None:
    assert identity(tmp_path, "") is None
    assert identity(tmp_path, f'user = "{pwd.getpwuid(os.geteuid()).pw_name}"\n') is None


@needs_root
def test_a_user_has_its_own_groups_and_no_way_back(tmp_path: Path) -> None:
    made = identity(tmp_path, 'user = "daemon"\n')
    assert made is not None
    groups = sorted(os.getgrouplist("daemon", DAEMON.pw_gid))
    assert after_becoming(made) == {
        "uids": [DAEMON.pw_uid] * 3,
        "gids": [DAEMON.pw_gid] * 3,
        "groups": groups,
        "is_root_again": False,
    }


@needs_root
def test_a_group_takes_the_place_of_the_one_of_the_user(tmp_path: Path) -> None:
    made = identity(tmp_path, 'user = "daemon"\ngroup = "sys"\n')
    assert made is not None
    found = after_becoming(made)
    gid = grp.getgrnam("sys").gr_gid
    assert found["gids"] == [gid] * 3
    assert gid in found["groups"]
    assert found["is_root_again"] is False


@needs_root
def test_a_group_alone_leaves_no_other_groups(tmp_path: Path) -> None:
    made = identity(tmp_path, 'group = "sys"\n')
    assert made is not None
    assert made.groups == (grp.getgrnam("sys").gr_gid,)
    assert made.uid == 0


def test_a_user_that_has_gone_since_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_text(tmp_path, 'user = "daemon"\n' + SMALLEST)

    def find_none(name: str) -> None:
        raise KeyError(f"getpwnam(): name not found: {name!r}")

    monkeypatch.setattr(pwd, "getpwnam", find_none)
    with pytest.raises(IdentityError, match="user, group: getpwnam\\(\\): name not found: 'daemon'"):
        Identity.of(config)


def test_only_root_becomes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(IdentityError, match="only root may become another user: start the program as root"):
        identity(tmp_path, 'user = "daemon"\n')
