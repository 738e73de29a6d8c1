"""The files of tokens while a balancer starts and runs: what cannot be used is named, and never shown."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from support.admin import LOOPBACK, Admin, Stage
from support.daemon import Daemon
from support.streams import Stream
from support.waiting import until

TOKEN, ANOTHER = "0123456789abcdef-full", "fedcba9876543210-full"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
WITH_TOKEN = f'{LOOPBACK}\ntoken_file = "full"'

pytestmark = pytest.mark.parametrize("workers", [1], indirect=True)


def write(folder: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    file = folder / "full"
    file.write_text(text)
    file.chmod(mode)
    return file


def status(daemon: Daemon, token: str = TOKEN) -> int:
    return Admin(daemon, token).ask("GET", "/api/v1/status")[0]


@pytest.mark.skipif(os.getuid() != 0, reason="others than root have no files that they may not read")
def test_one_that_may_not_be_read_is_said_at_the_start(stage: Stage) -> None:
    file = write(stage.folder)
    os.chown(file, 65534, 65534)
    daemon = stage.daemon(WITH_TOKEN, lacks=["dac_override", "dac_read_search"], may_fail=True)
    with daemon.launch() as process:
        assert process.wait(40) == 1
    said = [line for line in daemon.log.splitlines() if "token" in line]
    assert said == [f"{file}: the token cannot be read: permission denied"]
    assert "Traceback" not in daemon.log


def test_one_that_all_users_may_read_is_a_warning(stage: Stage) -> None:
    file = write(stage.folder, mode=0o644)
    with stage.daemon(WITH_TOKEN) as daemon:
        warned = f"{file} can be read or written by all users of this machine: chmod 0600 {file}"
        daemon.wait_for_log(re.escape(f"warn] admin: {warned}"))
        assert status(daemon) == 200
        assert TOKEN not in daemon.log


def test_one_that_all_users_come_to_read_is_a_warning(stage: Stage) -> None:
    file = write(stage.folder)
    with stage.daemon(WITH_TOKEN) as daemon:
        assert "can be read" not in daemon.log
        file.chmod(0o644)
        daemon.wait_for_log(f"admin: {file} can be read or written by all users of this machine")
        assert status(daemon) == 200


@pytest.mark.parametrize("text", ["short", "", None])
def test_what_replaces_it_and_cannot_be_used_is_not(stage: Stage, text: str | None) -> None:
    file = write(stage.folder)
    with stage.daemon(WITH_TOKEN, may_fail=True) as daemon, Stream(Admin(daemon), BEARER) as stream:
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        daemon.wait_for_log("admin: files could not be read again, what was read before stays in use: ")
        assert status(daemon) == 200
        write(stage.folder, ANOTHER)
        until(lambda: status(daemon, ANOTHER) == 200, "the other token")
        assert status(daemon) == 401
        stream.wait_for_end()
        assert {TOKEN, ANOTHER} & set(daemon.log.split()) == set()
