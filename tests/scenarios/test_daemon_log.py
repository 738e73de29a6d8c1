"""The daemon's own log: its forms, its levels at run time, and a place for it that fails."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.admin import BACKEND_A, Admin, Stage
from support.clients import ask_unix, connect
from support.command import command
from support.daemon import TCPBALANCE, Daemon
from support.peers import named
from support.process import Process
from support.waiting import until

LOG = "/api/v1/log"
JSON_LOG = '[log]\nformat = "json"\n'
DENIED = '[frontends.web.access]\ndeny = ["127.0.0.9/32"]\n'

BY_BOTH_COMMANDS = pytest.mark.parametrize(
    "starter", ["twistd", "tcpbalance run"], indirect=True, scope="module"
)


def objects(daemon: Daemon) -> list[dict[str, Any]]:
    """Give all lines of a log that has whole objects only."""
    *lines, rest = daemon.log.split("\n")
    assert rest == ""
    return [json.loads(line) for line in lines]


def refused_client(daemon: Daemon) -> None:
    """Have a client refused."""
    with suppress(ConnectionError), connect(daemon.port, "127.0.0.9") as client:
        client.recv(1)


@BY_BOTH_COMMANDS
def test_each_line_is_an_object(stage: Stage) -> None:
    with stage.daemon(more=JSON_LOG + DENIED) as daemon:
        refused_client(daemon)
        daemon.wait_for_log(r"refused")
        assert daemon.stop() == 0
        found = objects(daemon)
    for it in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", it["time"])
        assert it["level"] in ("info", "warn")
        assert it["logger"].count(".") <= 1
        assert it["message"]
    (listens,) = [it for it in found if "frontend web listens on" in it["message"]]
    assert (listens["name"], listens["level"]) == ("web", "info")
    assert any(it["logger"] == "tcpbalance.proxy" and it["level"] == "warn" for it in found)


def test_a_line_of_a_worker_has_its_number(stage: Stage, workers: int) -> None:
    if workers == 1:
        pytest.skip("there is none")
    with stage.daemon(more=JSON_LOG + DENIED) as daemon:
        refused_client(daemon)
        daemon.wait_for_log(r"refused")
        (refused,) = [it for it in objects(daemon) if it["logger"] == "tcpbalance.proxy"]
    assert refused["worker"] in (0, 1)
    assert refused["message"].startswith(f"worker {refused['worker']}: ")


def set_state(admin: Admin, state: str) -> None:
    """Make a change that is logged as information."""
    status, _ = admin.ask("PATCH", BACKEND_A, {"state": state})
    assert status == 200


def test_the_level_is_set_until_the_next_reload(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.get(LOG) == {"level": "info", "format": "text"}
        status, answer = admin.ask("PATCH", LOG, {"level": "error"})
        assert (status, answer) == (
            200,
            {"level": "error", "format": "text", "lasts": "until the next reload"},
        )
        daemon.wait_for_log(r"admin: 127\.0\.0\.1:\d+ sets the level of the log to error")
        set_state(admin, "maintenance")
        assert "maintenance" not in daemon.log
        assert admin.get("/api/v1/plan")["summary"] == "changes: 1 key"
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log(r"reload: ~ log.level: .error. -> .info. \(in place\)")
        set_state(admin, "ready")
        daemon.wait_for_log(r"sets backend a of pool web to state ready")
        status, refused = admin.ask("PATCH", LOG, {"level": "loud"})
        assert (status, refused["error"]["code"]) == (400, "bad_level")
        assert admin.ask("PATCH", LOG, {"level": "debug"})[0] == 200
        daemon.wait_for_log(r"admin: 127\.0\.0\.1:\d+ sets the level of the log to debug: done")


def test_workers_log_by_the_level_too(stage: Stage) -> None:
    with stage.daemon(more=DENIED) as daemon:
        admin = Admin(daemon)
        for level in ("critical", "debug"):
            assert admin.ask("PATCH", LOG, {"level": level})[0] == 200
            refused_client(daemon)
            if level == "critical":
                assert "refused" not in daemon.log
        daemon.wait_for_log(r"tcpbalance.proxy#warn\] .*refused")


def test_a_reload_changes_the_form(stage: Stage) -> None:
    with stage.daemon() as daemon:
        daemon.config_file.write_text(daemon.config_file.read_text() + JSON_LOG)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log(r'"message":"reloaded ')
        assert daemon.stop() == 0
        text, _, after = daemon.log.partition('{"time"')
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+ \[", line) for line in text.splitlines())
    assert [json.loads(line) for line in f'{{"time"{after}'.splitlines()][-1]["message"]


def test_the_command_shows_and_sets_the_level(stage: Stage) -> None:
    with stage.daemon('listen = "unix:admin.sock"') as daemon:
        daemon.wait_for_log("admin listens on")
        where = f"--admin={stage.folder}/admin.sock"
        assert command("log-level", where).stdout == "info\n"
        done = command("log-level", where, "debug")
        assert (done.returncode, done.stdout) == (0, "debug (until the next reload)\n")
        assert command("log-level", where).stdout == "debug\n"
        refused = command("log-level", where, "loud")
        assert refused.returncode == 2


@BY_BOTH_COMMANDS
def test_lines_in_the_journal_have_priorities(stage: Stage) -> None:
    log = stage.folder / "daemon.log"
    log.touch()
    status = log.stat()
    journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    with stage.daemon(more=DENIED, environment=journal) as daemon:
        refused_client(daemon)
        daemon.wait_for_log(r"refused")
        lines = daemon.log.splitlines()
    assert all(re.match(r"<[64]>\[[^ ]+#(info|warn)\] ", line) for line in lines), lines
    assert any(line.startswith("<4>[tcpbalance.proxy#warn] ") for line in lines)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, workers: int) -> None:
    config = (
        "workers = {workers}\n"
        '[frontends.web]\nlisten = "unix:web.sock"\npool = "web"\n'
        '[pools.web]\nbackends = ["{backend}"]\n'
    )
    with named("a") as (backend,):
        (tmp_path / "tcpbalance.toml").write_text(config.format(workers=workers, backend=backend.address))
        script = f"exec {TCPBALANCE} run tcpbalance.toml 2> /dev/full"
        with Process(["sh", "-c", script], tmp_path, tmp_path / "out") as process:
            path = tmp_path / "web.sock"
            until(lambda: served(path), "a client that is served")
            for number in (signal.SIGHUP, signal.SIGUSR1):
                process.send(number)
            assert served(path)
            assert process.stop() == 0


def served(path: Path) -> bool:
    """Whether a client of a unix socket gets an answer."""
    try:
        return ask_unix(str(path), b"x") == b"a"
    except OSError:
        return False


def test_a_client_is_served_while_the_reader_of_the_log_stalls(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    with named("a") as (backend,):
        (tmp_path / "tcpbalance.toml").write_text(
            '[frontends.web]\nlisten = "unix:web.sock"\npool = "web"\n'
            f'[pools.web]\nbackends = ["{backend.address}"]\n'
        )
        command = [TCPBALANCE, "run", "tcpbalance.toml"]
        script = ["sh", "-c", 'exec "$@" 2>&1', "sh", *map(str, command)]
        with Process(script, tmp_path, tmp_path / "out", stdout=writer) as process:
            os.close(writer)
            until(lambda: served(tmp_path / "web.sock"), "a client that is served")
            # All that was dropped is counted once there is space, also where nothing more is logged.
            os.read(reader, 1 << 20)
            text = b""
            while b"were dropped" not in text:
                text += os.read(reader, 1 << 16)
            assert process.stop() == 0
    os.close(reader)
