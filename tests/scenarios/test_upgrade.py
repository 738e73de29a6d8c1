"""SIGUSR2: a new program takes over, and no client is refused or cut; one that fails changes nothing."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import peers
from support.clients import ask, ask_unix, connect, read, read_all
from support.configs import WEB
from support.daemon import Daemon, Starter
from support.notify import service_manager
from support.ports import free_port
from support.process import has_ended
from support.visitors import Visitors
from support.waiting import until
from tcpbalance.net.data_path import DataPathName

pytestmark = pytest.mark.timeout(180)  # programs start several times, on a machine that may be busy

STARTS_WITHIN = 60.0


PROGRAM = """
import os, signal, sys
from pathlib import Path

if "TCPBALANCE_HANDOVER" in os.environ:
    Path("successor").write_text(str(os.getpid()))
    exec(Path("change").read_text())
import tcpbalance.upgrade
tcpbalance.upgrade.READY_WITHIN, tcpbalance.upgrade.KILL_AFTER = eval(Path("patience").read_text())
from tcpbalance.cli import main
sys.exit(main(["run", "tcpbalance.toml"]))
"""
"""A program whose next version may be anything."""

NEVER, SOON = 3600.0, 0.5

Patience = tuple[float, float]
"""Seconds within which a new program has to be ready, and seconds that it has to end when it is not."""

ENDLESS: Patience = (NEVER, NEVER)

CHECKED = """
[pools.web.health]
check = "command"
argv = ["sleep", "3600"]
timeout = "1h"
"""

WAITING = """
[pools.web.health]
check = "command"
argv = ["sh", "-c", "touch checking; until test -e checked; do sleep 0.05; done"]
timeout = "1h"
"""

UNREACHABLE = """
[frontends.more]
listen = "192.0.2.1:1"
pool = "web"
"""


class Changing(Daemon):
    """A balancer whose program changes before it is started again."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(self.folder / "program.py")]


def pids(daemon: Daemon) -> list[int]:
    """Give the processes that have taken over, one after the other."""
    return [int(pid) for pid in re.findall(r"process (\d+) has taken over", daemon.log)]


@contextlib.contextmanager
def running(
    folder: Path,
    kind: type[Daemon] = Daemon,
    *,
    change: str = "",
    patience: Patience = ENDLESS,
    environment: dict[str, str] | None = None,
) -> Iterator[Daemon]:
    """Run a balancer over one server that echoes; in the end, nothing that it started is left."""
    for name, text in (("program.py", PROGRAM), ("change", change), ("patience", str(patience))):
        (folder / name).write_text(text)
    with peers.peer(peers.echo) as backend:
        daemon = kind(WEB.format(backend=backend.address), folder, environment=environment)
        try:
            with daemon:
                yield daemon
        finally:
            for pid in pids(daemon)[-1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                until(lambda pid=pid: has_ended(pid), f"the end of {pid}")  # type: ignore[misc]


def upgrade(daemon: Daemon) -> int:
    """Have the process that serves start another.

    :returns: the other's process id when it has taken over.
    """
    before = pids(daemon)
    os.kill(before[-1] if before else daemon.process.pid, signal.SIGUSR2)
    until(lambda: len(pids(daemon)) > len(before), lambda: f"a new process\n{daemon.log}", STARTS_WITHIN)
    return pids(daemon)[-1]


@pytest.mark.parametrize(("starter", "path"), [("twistd", "auto"), ("tcpbalance run", "portable")])
def test_no_client_is_refused_and_none_is_cut(
    tmp_path: Path, starter: Starter, path: DataPathName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Daemon, "starter", starter)
    monkeypatch.setattr(Daemon, "data_path_name", path)
    with running(tmp_path) as daemon:
        port = daemon.port
        with Visitors(port) as visitors, connect(port) as lasting:
            lasting.sendall(b"before")
            assert read(lasting, 6) == b"before"
            visitors.see(100)
            first = upgrade(daemon)
            visitors.see(100)
            # Its sessions may finish there.
            lasting.sendall(b"after")
            lasting.shutdown(1)
            assert read_all(lasting) == b"after"
            assert daemon.wait() == 0
            second = upgrade(daemon)
            visitors.see(100)
            until(lambda: has_ended(first), "the end of the second process")
        assert visitors.failures == []
        assert len({daemon.process.pid, first, second}) == 3
        daemon.wait_for_records(visitors.visits + 1)
        assert len(daemon.access_records) == visitors.visits + 1


def test_a_unix_socket_keeps_its_file_until_the_last_process_ends(tmp_path: Path) -> None:
    file = tmp_path / "web.sock"
    with running(tmp_path) as daemon:
        inode = file.stat().st_ino
        upgrade(daemon)
        assert daemon.wait() == 0
        assert file.stat().st_ino == inode
        assert ask_unix(str(file), b"a") == b"a"
    assert not file.exists()


def test_nothing_else_is_handed_over(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        first = upgrade(daemon)
        assert daemon.wait() == 0
        before = kinds(first)
        second = upgrade(daemon)
        until(lambda: has_ended(first), "the end of the second process")
        until(lambda: kinds(second) == before, lambda: f"{before}: {kinds(second)}")


def processes_in(folder: Path) -> list[int]:
    """Give the processes that work in a folder, as all do that a balancer starts there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def kinds(pid: int) -> list[str]:
    """Give what the descriptors of a process are open on, without the numbers of pipes and sockets."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(re.sub(r"\[\d+\]", "", os.readlink(entry)))
    return sorted(found)


def test_the_new_configuration_may_listen_elsewhere(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        port = daemon.port
        config = daemon.config_file.read_text()
        config = config.replace("127.0.0.1:0", f"127.0.0.1:{port}").replace("unix:web.sock", "127.0.0.2:0")
        daemon.config_file.write_text(config.replace("frontends.web", "frontends.other"))
        with Visitors(port) as visitors:
            visitors.see(20)
            upgrade(daemon)
            assert daemon.wait() == 0
            visitors.see(20)
        assert visitors.failures == []
        daemon.wait_for_log(r"frontend other: uses inherited descriptor \d \(web\), which listens on 127")
        daemon.wait_for_log(
            r"\(web\), which listens on unix:.*web.sock: no frontend has that address any more"
        )
        until(lambda: not (tmp_path / "web.sock").exists(), "the removal of its file")


def test_what_a_reload_has_opened_is_handed_over_too(tmp_path: Path) -> None:
    second = free_port()
    with running(tmp_path) as daemon:
        more = f'[frontends.second]\nlisten = "127.0.0.1:{second}"\npool = "web"\n'
        daemon.config_file.write_text(daemon.config_file.read_text() + more)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("frontend second listens on")
        with Visitors(second) as visitors:
            visitors.see(20)
            upgrade(daemon)
            daemon.wait_for_log(rf"frontend second: uses inherited descriptor \d \(second\), .*:{second}")
            assert daemon.wait() == 0
            visitors.see(20)
        assert visitors.failures == []


def test_what_changes_while_the_new_program_starts_reaches_it(tmp_path: Path) -> None:
    second = free_port()
    change = f"Path('tcpbalance.toml').open('a').write({WAITING!r})"
    with running(tmp_path, Changing, change=change) as daemon:
        config, records = daemon.config_file.read_text(), tmp_path / "access.log"
        daemon.send(signal.SIGUSR2)
        until((tmp_path / "checking").exists, "the first check of the new program")
        more = f'[frontends.second]\nlisten = "127.0.0.1:{second}"\npool = "web"\n'
        daemon.config_file.write_text(config + more)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("SIGHUP: the new program that starts reads the configuration, this one does not")
        records.rename(tmp_path / "access.log.1")
        daemon.send(signal.SIGUSR1)
        until(records.exists, "a new access log")
        (tmp_path / "checked").touch()
        daemon.wait_for_log("SIGUSR1 is passed on to process")
        assert daemon.wait() == 0
        daemon.wait_for_log("frontend second listens on")
        assert ask(second, b"a") == b"a"
        daemon.wait_for_records(1)


def test_a_reload_waits_for_the_new_program(tmp_path: Path) -> None:
    """Sockets that the new program has already are neither closed here nor given to others."""
    change = f"Path('tcpbalance.toml').open('a').write({WAITING!r})"
    with running(tmp_path, Changing, change=change) as daemon:
        config, file = daemon.config_file.read_text(), tmp_path / "web.sock"
        daemon.send(signal.SIGUSR2)
        until((tmp_path / "checking").exists, "the first check of the new program")
        daemon.config_file.write_text(config.replace("[frontends.web]", "[frontends.other]"))
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("this one does not")
        daemon.config_file.write_text(config)
        daemon.send(signal.SIGHUP)
        until(lambda: daemon.log.count("this one does not") == 2, "two signals")
        (tmp_path / "checked").touch()
        assert daemon.wait() == 0
        until(lambda: "reloaded " in daemon.log, "the reload of the new program")
        assert ask(daemon.port, b"a") == b"a"
        assert ask_unix(str(file), b"a") == b"a"


def test_a_reload_that_has_waited_is_made_here_where_the_new_program_fails(tmp_path: Path) -> None:
    change = "Path('failing').touch()\nwhile not Path('failed').exists(): pass\nsys.exit(1)"
    with running(tmp_path, Changing, change=change) as daemon:
        daemon.send(signal.SIGUSR2)
        until((tmp_path / "failing").exists, "the new program")
        more = '[frontends.second]\nlisten = "127.0.0.1:0"\npool = "web"\n'
        daemon.config_file.write_text(daemon.config_file.read_text() + more)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("this one does not")
        (tmp_path / "failed").touch()
        daemon.wait_for_log("frontend second listens on")


FAILURES = {
    "crashes at once": ("sys.exit(7)", ENDLESS, r"ended before it was ready \(exit status 7\)"),
    "is killed": ("os.kill(os.getpid(), 9)", ENDLESS, r"ended before it was ready \(signal 9\)"),
    "hangs": ("while True: signal.pause()", (SOON, SOON), r"was not ready within 0.5 s \(signal 9\)"),
    "closes everything": (
        "os.closerange(3, 100)\nwhile True: signal.pause()",
        (NEVER, SOON),
        r"ended before it was ready \(signal 9\)",
    ),
    "never says ready": (
        f"Path('tcpbalance.toml').open('a').write({CHECKED!r})",
        # By then it makes its health checks, if the machine is not busy.
        (3.0, NEVER),
        r"was not ready within 3 s \(exit status 0\)",
    ),
    "has a mistake": (
        "Path('tcpbalance.toml').open('a').write('mistake = 1')",
        ENDLESS,
        r"ended before it was ready \(exit status 1\)",
    ),
    "cannot listen": (
        "f = Path('tcpbalance.toml')\nf.write_text(f.read_text().replace('unix:web.sock', '192.0.2.1:1'))",
        ENDLESS,
        r"ended before it was ready \(exit status 1\)",
    ),
    "cannot listen on one more": (
        f"Path('tcpbalance.toml').open('a').write({UNREACHABLE!r})",
        ENDLESS,
        r"ended before it was ready \(exit status 1\)",
    ),
    "is told to end": (
        f"Path('tcpbalance.toml').open('a').write({CHECKED!r})\nos.kill(os.getpid(), signal.SIGTERM)",
        ENDLESS,
        r"ended before it was ready \(exit status 0\)",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_one_that_fails_changes_nothing(tmp_path: Path, name: str) -> None:
    change, patience, why = FAILURES[name]
    with running(tmp_path, Changing, change=change, patience=patience) as daemon:
        with Visitors(daemon.port) as visitors, connect(daemon.port) as lasting:
            lasting.sendall(b"before")
            assert read(lasting, 6) == b"before"
            visitors.see(20)
            daemon.send(signal.SIGUSR2)
            daemon.wait_for_log(f"SIGUSR2: the new program {why}; this one goes on", STARTS_WITHIN)
            assert daemon.children == []
            until(
                lambda: processes_in(tmp_path) == [daemon.process.pid],
                lambda: f"the end of its health checks: {processes_in(tmp_path)}",
            )
            visitors.see(20)
            lasting.sendall(b"after")
            assert read(lasting, 5) == b"after"
            assert ask_unix(str(tmp_path / "web.sock"), b"a") == b"a"
        assert visitors.failures == []
        assert daemon.stop() == 0
    assert not (tmp_path / "web.sock").exists()


def test_after_one_that_failed_another_takes_over(tmp_path: Path) -> None:
    with running(tmp_path, Changing, change="sys.exit(1)") as daemon:
        with Visitors(daemon.port) as visitors:
            for times in (1, 2):
                daemon.send(signal.SIGUSR2)
                until(lambda times=times: daemon.log.count("; this one goes on") == times, "a failure")  # type: ignore[misc]
            (tmp_path / "change").write_text("")
            upgrade(daemon)
            visitors.see(20)
        assert daemon.wait() == 0
        assert visitors.failures == []


def test_a_program_that_is_stopped_takes_the_one_that_starts_along(tmp_path: Path) -> None:
    patience = (NEVER, SOON)
    with running(tmp_path, Changing, change="while True: signal.pause()", patience=patience) as daemon:
        daemon.send(signal.SIGUSR2)
        file = tmp_path / "successor"
        successor = int(until(lambda: file.exists() and file.read_text(), "the new program"))
        daemon.send(signal.SIGUSR2)
        daemon.wait_for_log("SIGUSR2: the new program is being started already")
        assert daemon.stop() == 0
        until(lambda: has_ended(successor), "its end")
    assert not (tmp_path / "web.sock").exists()


def test_under_twistd_with_a_pid_file_this_one_goes_on(tmp_path: Path) -> None:
    class WithPidFile(Daemon):
        @property
        def command(self) -> list[str]:
            return [word for word in super().command if not word.startswith("--pidfile")]

    with running(tmp_path, WithPidFile) as daemon:
        daemon.send(signal.SIGUSR2)
        daemon.wait_for_log(r"SIGUSR2: the new program ended before it was ready \(exit status 1\)")
        assert "Another twistd server is running" in daemon.log
        assert ask(daemon.port, b"a") == b"a"


def test_a_service_manager_follows(tmp_path: Path) -> None:
    with service_manager(tmp_path / "notify") as manager:
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with running(tmp_path, environment=variables) as daemon:
            manager.wait_for("READY=1")
            pid = upgrade(daemon)
            manager.wait_for(f"READY=1\nMAINPID={pid}\nWATCHDOG=1")
            assert daemon.wait() == 0
            manager.wait_for("READY=1", 2)
            manager.wait_for("WATCHDOG=1", manager.messages.count("WATCHDOG=1") + 3)
            assert "STOPPING=1" not in manager.messages
        manager.wait_for("STOPPING=1")
