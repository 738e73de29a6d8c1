"""`tcpbalance` steers a balancer that runs, with and without workers, from scripts and in a real terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from support.clients import ask, connect
from support.command import command
from support.daemon import TCPBALANCE, Daemon
from support.peers import named
from support.ports import refusing
from support.process import finish
from support.tmux import terminal
from support.waiting import until
from tcpbalance.cli.admin_address import parse_admin
from tcpbalance.cli.admin_client import AdminClient
from tcpbalance.cli.pages import PAGES, listed
from tcpbalance.workers.shared_counts import can_count

CONFIG = """
workers = {workers}
[admin]
listen = "unix:admin.sock"
[access_log]
path = "access.log"
format = "json"
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
[pools.web]
backends = [{{ name = "a", address = "{a}" }}, {{ name = "b", address = "{b}" }}]
"""

WORKERS = [1, pytest.param(2, marks=pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"))]


class Steered:
    """A balancer, and commands for it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        daemon.wait_for_log(r"admin listens on ")
        self.socket = daemon.folder / "admin.sock"

    def command(self, *words: str) -> list[str]:
        """Give a command with where the admin side is."""
        return [str(TCPBALANCE), *self._with_admin(*words)]

    def _with_admin(self, *words: str) -> list[str]:
        return [words[0], f"--admin={self.socket}", *words[1:]]

    def finish(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in this process."""
        return command(*self._with_admin(*words))

    def run(self, *words: str) -> str:
        """Run a command that succeeds, and give its output."""
        done = self.finish(*words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def status(self) -> Any:
        """Give what `status --json` shows."""
        return json.loads(self.run("status", "--json"))


@pytest.fixture(params=WORKERS)
def steered(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Steered]:
    with named("a", "b") as (a, b):
        config = CONFIG.format(workers=request.param, a=a.address, b=b.address)
        with Daemon(config, tmp_path) as daemon:
            yield Steered(daemon)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Steered]:
    """Likewise, one process."""
    with (
        named("a", "b") as (a, b),
        Daemon(CONFIG.format(workers=1, a=a.address, b=b.address), tmp_path) as daemon,
    ):
        yield Steered(daemon)


def test_status_agrees_with_the_access_log(steered: Steered) -> None:
    for number in range(10):
        ask(steered.daemon.port, b"x" * 100, source=f"127.0.0.{number + 1}")
    records = steered.daemon.wait_for_records(10)
    received = sum(record["client_bytes"] for record in records)

    def counted() -> bool:
        counters = steered.status()["frontends"][0]["counters"]
        return (counters["connections_total"], counters["bytes_in"]) == (10, received)

    until(counted, lambda: f"10 connections and {received} bytes: {steered.status()}")
    lines = steered.run("status").splitlines()
    (web,) = [line for line in lines if line.startswith("web ") and "127.0.0.1" in line]
    assert re.search(r"\b0 +10 ", web)
    (pool,) = [line for line in lines if line.startswith("web ") and line is not web]
    assert re.search(r"2 of 2 up +0 +10 ", pool)
    assert "\x1b" not in "".join(lines)


def test_it_finds_the_admin_side_by_the_configuration_and_by_the_environment(alone: Steered) -> None:
    by_file = command("status", f"--config={alone.daemon.config_file}")
    assert (by_file.returncode, by_file.stderr) == (0, "")
    environment = {**os.environ, "TCPBALANCE_ADMIN": f"unix:{alone.socket}"}
    by_variable = finish([TCPBALANCE, "status"], env=environment)
    assert (by_variable.returncode, by_variable.stderr) == (0, "")


def test_without_a_balancer(tmp_path: Path) -> None:
    done = finish([TCPBALANCE, "status", f"--admin={tmp_path}/x.sock"])
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        f"tcpbalance status: cannot ask the admin side at unix:{tmp_path}/x.sock: no such file or directory\n"
    )


ASKING = [
    *(["plan"], ["status"], ["sessions"], ["bans"], ["affinity"], ["events"], ["reload"], ["log-level"]),
    *(["debug-clients"], ["drain", "a"], ["ready", "a"], ["maintenance", "a"], ["weight", "a", "3"]),
    *(["health", "a"], ["explain", "web", "203.0.113.7"], ["bans", "--lift", "203.0.113.7"]),
    *(
        ["bans", "--add", "203.0.113.7", "--for", "1m"],
        ["sessions", "--end", "0.1.2"],
        ["events", "--follow"],
    ),
    *(["affinity", "--forget", "--pool", "web"], ["log-level", "debug"], ["debug-clients", "--none"]),
]
"""Commands that ask a balancer."""


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_each_command_says_in_a_line_that_there_is_no_balancer(tmp_path: Path, words: list[str]) -> None:
    done = command(words[0], f"--admin={tmp_path}/x.sock", *words[1:])
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"tcpbalance {words[0]}: cannot ask the admin side at unix:{tmp_path}/x.sock: "
        "no such file or directory\n"
    )


@pytest.mark.parametrize("name", sorted({words[0] for words in ASKING}))
def test_each_command_shows_its_usage_where_an_option_is_wrong(name: str) -> None:
    done = command(name, "--bogus")
    assert (done.returncode, done.stdout) == (1 if name == "plan" else 2, "")
    assert done.stderr.startswith(f"usage: tcpbalance {name} [-h] ")
    assert done.stderr.splitlines()[-1].startswith(f"tcpbalance {name}: error: ")


def test_ctrl_c_ends_a_watch_quietly(alone: Steered) -> None:
    words = alone.command("status", "--watch", "0.2")
    with subprocess.Popen(
        ["env", "--default-signal=INT", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        # Two looks.
        until(lambda: child.stdout.readline().startswith("tcpbalance "), "a look")
        until(lambda: child.stdout.readline().startswith("tcpbalance "), "another look")
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (130, "")


def test_a_closed_pipe_ends_a_watch_quietly(alone: Steered) -> None:
    words = alone.command("status", "--watch", "0.2")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("tcpbalance ")
        child.stdout.close()
        assert child.stderr is not None
        assert child.wait(20) == 141
        assert child.stderr.read() == ""


@pytest.mark.requires("tmux")
def test_a_watch_in_a_terminal(alone: Steered, tmp_path: Path) -> None:
    words = alone.command("status", "--watch", "0.2")
    with terminal(words, tmp_path / "tmux", 80) as window:
        lines = window.wait_for("2 of 2 up")
        assert all(len(line) <= 80 for line in lines)
        assert lines[0].startswith("tcpbalance ")
        assert "CONN/S" in "\n".join(lines)
        assert "WEIGHT" not in "\n".join(lines)
        assert "\x1b[32mup" in "\n".join(window.screen(colours=True))
        ask(alone.daemon.port, b"x")
        until(lambda: re.search(r"2 of 2 up +0 +1 ", "\n".join(window.screen())), "a connection")
        window.resize(140, 24)
        assert len([line for line in window.wait_for("WEIGHT") if "POOL, BACKEND" in line]) == 1
        window.resize(140, 6)
        window.wait_for("… ")
        window.press("C-c")
        window.wait_for("ended with 130")


SHOWN_IN_A_TERMINAL = [
    (["plan"], "no change"),
    (["status"], "2 of 2 up"),
    (["sessions"], "127.0.0.7:"),
    (["drain", "web/a", "--deadline", "1h"], "web/a: draining, "),
    (["plan"], 'pools.web.backends.a.state: "drain", in the file "ready" (set through the unix socket at 2'),
    (["explain", "web", "203.0.113.7"], "an operator drains it"),
    (["ready", "web/a"], "web/a: up, "),
    (["maintenance", "web/a"], "web/a: maintenance, "),
    (["weight", "web/a", "3"], "web/a: weight 3"),
    (["explain", "web", "203.0.113.7"], "an operator has put it into maintenance"),
    (["reload"], "web.backends.a.weight: 3 -> 1"),
    (["ready", "a"], "web/a: up, "),
    (["bans", "--add", "192.0.2.7", "--for", "10m"], "192.0.2.7: banned at web"),
    (["bans"], "192.0.2.7  web"),
    (["bans", "--add", "2001:db8:aaaa:bbbb::/64", "--for", "1h"], "2001:db8:aaaa:bbbb::/64: banned at web"),
    (["bans"], "2001:db8:aaaa:bbbb::/64  web"),
    (["bans", "--lift", "192.0.2.7"], "192.0.2.7: no longer banned at web"),
    (["affinity"], "127.0.0.7  web"),
    (["affinity", "--forget", "--client", "127.0.0.7"], "1 client is forgotten"),
    (["events"], "ban lifted"),
    (["health", "a"], "is up"),
    (["debug-clients"], "no clients"),
    (["log-level"], "info"),
]
"""Commands in an order in which each has something to show, and a part of it."""


@pytest.mark.requires("tmux")
@pytest.mark.parametrize("width", [50, 60, 80, 140])
@pytest.mark.parametrize("workers", WORKERS[1:])
def test_each_command_in_a_terminal(tmp_path: Path, workers: int, width: int) -> None:
    """No line is wider than the terminal, which would break it anywhere, and no text is cut."""
    with named("a", "b") as (a, b):
        config = CONFIG.format(workers=workers, a=a.address, b=b.address) + "affinity = {}\n"
        with Daemon(config, tmp_path) as daemon, connect(daemon.port, "127.0.0.7") as client:
            client.sendall(b"x")
            steered = Steered(daemon)
            until(lambda: "127.0.0.7" in steered.run("affinity"), "a client that is remembered")
            for number, (words, text) in enumerate(SHOWN_IN_A_TERMINAL):
                socket = tmp_path / f"tmux-{number}"
                with terminal(steered.command(*words), socket, width, 50) as window:
                    window.wait_for("ended with ")
                    lines = window.screen(joined=True)
                assert lines[-1] == "ended with 0", lines
                assert text in " ".join(line.strip() for line in lines), (words, lines)
                assert all(len(line.rstrip()) <= width for line in lines), (words, lines)
                assert "…" not in "".join(lines), (words, lines)


@pytest.mark.requires("tmux")
def test_a_watch_goes_on_over_a_restart_of_the_balancer(alone: Steered, tmp_path: Path) -> None:
    with terminal(alone.command("status", "--watch", "0.2"), tmp_path / "tmux", 120) as window:
        window.wait_for("2 of 2 up")
        alone.daemon.stop()
        window.wait_for("cannot ask the admin side")
        alone.daemon.start()
        lines = window.wait_for("2 of 2 up")
        assert "cannot ask" not in "\n".join(lines)


@pytest.mark.requires("tmux")
def test_no_colour_where_none_is_wanted(alone: Steered, tmp_path: Path) -> None:
    with terminal(alone.command("status"), tmp_path / "tmux", 80, env={"NO_COLOR": "1"}) as window:
        window.wait_for("ended with 0")
        assert "\x1b[32m" not in "\n".join(window.screen(colours=True))


def test_a_backend_is_drained_and_comes_back(steered: Steered) -> None:
    shown = steered.run("drain", "web/a")
    assert shown == "web/a: draining, 0 sessions open (until the next restart)\n"
    assert {ask(steered.daemon.port, b"x") for _ in range(4)} == {b"b"}
    assert steered.run("ready", "a") == "web/a: up, 0 sessions open (until the next restart)\n"
    assert steered.run("maintenance", "b").startswith("web/b: maintenance, ")
    assert {ask(steered.daemon.port, b"x") for _ in range(4)} == {b"a"}


def test_a_name_that_does_not_exist(alone: Steered) -> None:
    done = alone.finish("drain", "web/c")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ('tcpbalance drain: no backend is named "web/c", did you mean "web/b"?\n')


def open_sessions(steered: Steered, backend: int) -> int:
    found = steered.status()["pools"][0]["backends"][backend]["counters"]["connections_active"]
    assert isinstance(found, int)
    return found


def test_a_drain_shows_how_the_sessions_end(steered: Steered) -> None:
    steered.run("drain", "b")
    with connect(steered.daemon.port) as first, connect(steered.daemon.port, "127.0.0.7") as second:
        until(lambda: open_sessions(steered, 0) == 2, "two sessions")
        words = steered.command("drain", "a", "--wait")
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "web/a: draining, 2 sessions open (until the next restart)\n"
            assert child.stdout.readline() == "web/a: 2 sessions open\n"
            first.close()
            assert child.stdout.readline() == "web/a: 1 session open\n"
            second.close()
            assert child.communicate(timeout=20) == ("web/a: 0 sessions open\n", "")
            assert child.returncode == 0


def test_a_drain_that_is_called_off_ends_the_wait(alone: Steered) -> None:
    alone.run("drain", "b")
    with connect(alone.daemon.port):
        until(lambda: open_sessions(alone, 0) == 1, "a session")
        words = alone.command("drain", "a", "--wait")
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            alone.run("ready", "a")
            _, errors = child.communicate(timeout=20)
    assert errors == "tcpbalance drain: web/a does not drain any more: its state was set to ready\n"
    assert child.returncode == 1


@pytest.mark.requires("tmux")
def test_a_drain_in_a_terminal_redraws_one_line(alone: Steered, tmp_path: Path) -> None:
    alone.run("drain", "b")
    with connect(alone.daemon.port) as client:
        until(lambda: open_sessions(alone, 0) == 1, "a session")
        with terminal(alone.command("drain", "a", "--wait"), tmp_path / "tmux", 80) as window:
            window.wait_for("web/a: 1 session open")
            client.close()
            lines = window.wait_for("ended with 0")
    assert lines == [
        "web/a: draining, 1 session open (until the next restart)",
        "web/a: 0 sessions open",
        "ended with 0",
    ]


def test_what_a_read_only_token_may(tmp_path: Path) -> None:
    full, read_only = tmp_path / "full", tmp_path / "read"
    full.write_text("0123456789abcdef-full")
    read_only.write_text("0123456789abcdef-read")
    for file in (full, read_only):
        file.chmod(0o600)
    with named("a", "b") as (a, b):
        config = CONFIG.format(workers=1, a=a.address, b=b.address).replace(
            "[access_log]", 'token_file = "full"\nread_only_token_file = "read"\n[access_log]'
        )
        with Daemon(config, tmp_path) as daemon:
            steered = Steered(daemon)
            refused = steered.finish("status")
            assert refused.returncode == 1
            assert refused.stderr == (
                "tcpbalance status: a token is needed: Authorization: Bearer TOKEN; see --token-file and "
                "TCPBALANCE_TOKEN_FILE\n"
            )
            assert "2 of 2 up" in steered.run("status", f"--token-file={read_only}")
            refused = steered.finish("drain", "a", f"--token-file={read_only}")
            assert refused.returncode == 1
            assert refused.stderr == "tcpbalance drain: this token may look and change nothing\n"
            assert "draining" in steered.run("drain", "a", f"--token-file={full}")
            # The configuration says where the admin side and its token are.
            by_file = command("ready", "a", f"--config={daemon.config_file}")
            assert by_file.stdout.startswith("web/a: up")


def test_sessions_are_listed_and_ended(steered: Steered) -> None:
    with (
        connect(steered.daemon.port, "127.0.0.7") as first,
        connect(steered.daemon.port, "127.0.0.8"),
    ):
        first.sendall(b"x" * 1024)
        until(lambda: len(steered.run("sessions").splitlines()) == 3, "two sessions")
        until(lambda: "1.00 KiB" in steered.run("sessions", "--client", "127.0.0.7"), "its bytes")
        head, line = steered.run("sessions", "--client", "127.0.0.8/32").splitlines()
        assert head.split()[:2] == ["ID", "CLIENT"]
        found, client = line.split()[:2]
        assert client.startswith("127.0.0.8:")
        assert steered.run("sessions", "--end", found).startswith(
            f"{found}: ended, client {client}, frontend web"
        )
        until(lambda: len(steered.run("sessions").splitlines()) == 2, "one session")
        gone = steered.finish("sessions", "--end", found)
        assert gone.returncode == 1
        assert re.fullmatch(r"tcpbalance sessions: [^\n]*\n", gone.stderr)


def test_pages_of_sessions_are_put_together(alone: Steered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAGES, "sessions", 2)
    clients = [connect(alone.daemon.port) for _ in range(5)]
    try:
        until(lambda: len(json.loads(alone.run("sessions", "--json"))["sessions"]) == 5, "5 sessions")
        # Within this process, where pages are small.
        admin = AdminClient(parse_admin(str(alone.socket), "--admin"))
        found, more = listed(admin, "sessions", {}, 100)
        assert (len({session["id"] for session in found}), more) == (5, False)
        found, more = listed(admin, "sessions", {}, 3)
        assert (len(found), more) == (3, True)
    finally:
        for client in clients:
            client.close()
    limited = alone.finish("sessions", "--limit", "0")
    assert limited.returncode == 2
    assert "must be a number from 1 on" in limited.stderr


def test_a_filter_that_makes_no_sense(alone: Steered) -> None:
    done = alone.finish("sessions", "--client", "x")
    assert done.returncode == 1
    assert done.stderr.startswith("tcpbalance sessions: client ")


CHECKED = (
    CONFIG
    + """
[pools.web.health]
check = "tcp"
interval = "100ms"
"""
)


def test_health_shows_when_and_why(tmp_path: Path) -> None:
    with (
        named("a") as (a,),
        refusing() as down,
        Daemon(CHECKED.format(workers=1, a=a.address, b=down), tmp_path) as daemon,
    ):
        steered = Steered(daemon)
        until(lambda: "is down: refused" in steered.run("health", "b"), "b is down")
        lines = steered.run("health", "web/b").splitlines()
        assert lines[0] == f"web/b ({down}) is down: refused"
        assert lines[2].split() == ["TIME", "RESULT", "TOOK", "CAUSE"]
        assert re.fullmatch(r"\S+Z +failed +[0-9.]+ ms +refused", lines[3])
        assert re.search(r"passed +[0-9.]+ ms$", steered.run("health", "a"), re.MULTILINE)
        assert json.loads(steered.run("health", "a", "--json"))["checks"][0]["passed"] is True


def test_health_without_checks(alone: Steered) -> None:
    assert "It was not checked yet, or is not checked at all." in alone.run("health", "a")


LIMITED = """
[frontends.web.limits]
connections_per_client = 100
"""


@pytest.mark.parametrize("workers", WORKERS)
def test_bans_are_added_shown_and_lifted(tmp_path: Path, workers: int) -> None:
    with named("a", "b") as (a, b):
        config = CONFIG.format(workers=workers, a=a.address, b=b.address) + LIMITED
        with Daemon(config, tmp_path) as daemon:
            steered = Steered(daemon)
            words = ["--add", "127.0.0.9", "--frontend", "web", "--for", "10m"]
            assert steered.run("bans", *words).startswith("127.0.0.9: banned at web until 2")
            until(lambda: is_refused(daemon.port, "127.0.0.9"), "the client is refused")
            assert ask(daemon.port, source="127.0.0.8") in (b"a", b"b")
            head, line = steered.run("bans", "--client", "127.0.0.0/8").splitlines()
            assert head.split() == ["CLIENT", "FRONTEND", "BY", "LEFT", "UNTIL"]
            assert re.match(r"127.0.0.9 +web +operator +(10|9) min", line)
            assert steered.run("bans", *words[:-1], "5m", "--replace").startswith("127.0.0.9: banned at web")
            (line,) = steered.run("bans", "--by", "operator").splitlines()[1:]
            assert re.match(r"127.0.0.9 +web +operator +[45] min", line)
            assert len(steered.run("bans", "--by", "limits").splitlines()) == 1
            assert steered.run("bans", "--lift", "127.0.0.9") == "127.0.0.9: no longer banned at web\n"
            until(lambda: not is_refused(daemon.port, "127.0.0.9"), "the client is served")
            assert json.loads(steered.run("bans", "--json")) == {"bans": [], "total": 0}
            network = steered.run("bans", "--add", "127.0.0.8/30", "--for", "600")
            assert network.startswith("127.0.0.8/30: banned at web until 2")
            until(lambda: is_refused(daemon.port, "127.0.0.9"), "the client is refused by its network")
            assert steered.run("bans", "--lift", "127.0.0.8/30") == "127.0.0.8/30: no longer banned at web\n"
            done = steered.finish("bans", "--lift", "127.0.0.9")
            assert (done.returncode, done.stderr) == (1, "tcpbalance bans: client 127.0.0.9 is not banned\n")


def is_refused(port: int, source: str) -> bool:
    try:
        return ask(port, source=source) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--add", "127.0.0.9"], "--add needs --for and takes --frontend and --replace, and no other option"),
        (["--for", "1m"], "--for and --replace belong to --add"),
        (["--replace"], "--for and --replace belong to --add"),
        (["--lift", "127.0.0.9", "--json"], "--lift takes --frontend and --by, and no other option"),
    ],
)
def test_options_of_bans_that_do_not_fit(options: list[str], message: str) -> None:
    done = command("bans", *options)
    assert done.returncode == 2
    assert done.stderr.endswith(f"tcpbalance bans: error: {message}\n")


@pytest.mark.parametrize("workers", WORKERS)
def test_affinity_is_shown_and_forgotten(tmp_path: Path, workers: int) -> None:
    with named("a", "b") as (a, b):
        config = CONFIG.format(workers=workers, a=a.address, b=b.address) + "affinity = {}\n"
        with Daemon(config, tmp_path) as daemon:
            steered = Steered(daemon)
            served = {
                source: ask(daemon.port, source=source).decode() for source in ("127.0.0.7", "127.0.0.8")
            }
            until(lambda: len(steered.run("affinity").splitlines()) == 3, "two clients")
            head, line = steered.run("affinity", "--client", "127.0.0.7").splitlines()
            assert head.split() == ["CLIENT", "POOL", "BACKEND", "NOW", "AT", "REMEMBERED", "FOR"]
            assert line.split()[:3] == ["127.0.0.7", "web", served["127.0.0.7"]]
            assert steered.run("affinity", "--forget", "--client", "127.0.0.7") == "1 client is forgotten\n"
            until(lambda: len(steered.run("affinity").splitlines()) == 2, "one client")
            assert json.loads(steered.run("affinity", "--json"))["affinity"][0]["client"] == "127.0.0.8"


@pytest.mark.parametrize("options", [[], ["--json", "--pool", "web"], ["--limit", "5", "--pool", "web"]])
def test_what_is_forgotten_must_be_selected(options: list[str]) -> None:
    done = command("affinity", "--forget", *options)
    assert done.returncode == 2
    assert "--forget takes --pool, --client and --backend, at least one, and no other option" in done.stderr


def test_events_are_shown_and_followed(steered: Steered) -> None:
    steered.run("drain", "a")
    words = ["env", "--default-signal=INT", *steered.command("events", "--follow")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        line = line_with(child.stdout, "backend state")
        assert re.fullmatch(r"\S+Z  backend state  pool web, backend a, .*state drain.*\n", line)
        steered.run("weight", "b", "7")
        assert "pool web, backend b" in line_with(child.stdout, "backend weight")
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=20) == ("", "")
        assert child.returncode == 130
    events = [json.loads(line) for line in steered.run("events", "--json").splitlines()]
    assert [event["kind"] for event in events if event.get("backend") == "b"] == ["backend_weight"]


def test_events_that_are_followed_end_with_the_balancer(alone: Steered) -> None:
    words = alone.command("events", "--follow")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        alone.run("drain", "a")
        line_with(child.stdout, "state drain")
        # What comes after the first lines comes by the stream.
        alone.run("ready", "a")
        line_with(child.stdout, "state ready")
        alone.daemon.stop()
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 3
    assert (
        errors
        == f"tcpbalance events: cannot ask the admin side at unix:{alone.socket}: the stream has ended\n"
    )


def line_with(output: IO[str], text: str) -> str:
    """Read on until there is a line with a text."""
    for line in output:
        if text in line:
            return line
    raise AssertionError(f"the output has ended without {text!r}")


def test_a_weight_is_set(steered: Steered) -> None:
    assert steered.run("weight", "web/a", "3") == "web/a: weight 3 (until the next reload)\n"
    assert steered.status()["pools"][0]["backends"][0]["weight"] == 3
    refused = steered.finish("weight", "web/a", "1000")
    assert refused.returncode == 1
    assert refused.stderr.startswith("tcpbalance weight: ")
    assert refused.stderr.count("\n") == 1


def test_a_drain_ends_sessions_at_its_deadline(steered: Steered) -> None:
    steered.run("drain", "b")
    with connect(steered.daemon.port):
        until(lambda: open_sessions(steered, 0) == 1, "a session")
        lines = steered.run("drain", "a", "--deadline", "1", "--wait").splitlines()
        expected = r"web/a: draining, [01] s left, 1 session open \(until the next restart\)"
        assert re.fullmatch(expected, lines[0])
        assert lines[-1] == "web/a: 0 sessions open"
    for state, time, shown in (
        ("drain", "1h", r"draining, (1 h|59 min 59 s) left, "),
        ("maintenance", "2h", r"maintenance, (2 h|1 h 59 min) left, "),
        ("drain", "none", "draining, "),
    ):
        line = steered.run(state, "a", "--deadline", time)
        assert re.match(rf"web/a: {shown}0 sessions open ", line), line
    done = steered.finish("drain", "a", "--deadline", "soon")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_reload_shows_what_has_changed(steered: Steered) -> None:
    assert steered.run("plan") == "no change\n"
    file = steered.daemon.config_file
    good = file.read_text()
    file.write_text(good.replace("[pools.web]\n", "[pools.web]\nretries = 7\n"))
    planned = steered.finish("plan")
    assert (planned.returncode, planned.stderr) == (2, "")
    assert re.fullmatch(
        r"~ pools.web.retries: \d -> 7 \(for new connections\)\nchanges: 1 key\n", planned.stdout
    )
    assert json.loads(steered.finish("plan", "--json").stdout)["changed"][0]["new"] == 7
    assert steered.run("reload") == planned.stdout
    assert steered.run("reload") == "no change\n"
    file.write_text(good.replace("[pools.web]\n", "[pools.web]\nretrys = 7\nbalanc = 1\n"))
    assert "cannot be used" not in steered.run("status")
    for word in ("plan", "reload"):
        refused = steered.finish(word)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.fullmatch(
            rf"tcpbalance {word}: {file}:\d+: [^\n]*retries[^\n]*; {file}:\d+: [^\n]*balance[^\n]*\n",
            refused.stderr,
        )
    assert "cannot be used: " in steered.run("status").splitlines()[1]


def test_a_plan_shows_what_a_reload_keeps_from_run_time(alone: Steered) -> None:
    alone.run("drain", "a")
    alone.run("maintenance", "b")
    kept = alone.run("plan").splitlines()
    assert kept[:2] == ["no change", "kept from run time:"]
    assert re.fullmatch(
        r'  pools\.web\.backends\.a\.state: "drain", in the file "ready" '
        r"\(set through the unix socket at \S+Z\)",
        kept[2],
    )
    assert [it["value"] for it in json.loads(alone.run("plan", "--json"))["run_time"]] == [
        "drain",
        "maintenance",
    ]
    assert alone.run("reload").splitlines() == kept
    file = alone.daemon.config_file
    file.write_text(file.read_text().replace('name = "b",', 'name = "b", state = "drain",'))
    planned = alone.finish("plan")
    _, summary, *more = planned.stdout.splitlines()
    assert (planned.returncode, summary) == (2, "drains: 1 backend; changes: 1 key")
    assert more[:3] == [*kept[1:3], "set at run time, ends with a reload:"]
    assert more[3].startswith('  pools.web.backends.b.state: "maintenance" -> "drain" (set through ')


def test_a_backend_that_goes_is_planned_as_between_two_files(alone: Steered) -> None:
    file = alone.daemon.config_file
    before = alone.daemon.folder / "before.toml"
    before.write_text(file.read_text())
    file.write_text(re.sub(r", {{ name = .b.*?}}|, \{ name = \"b\"[^}]*\}", "", file.read_text()))
    by_file = command("plan", before, file)
    by_balancer = alone.finish("plan")
    assert "web.backends.b" in by_file.stdout
    assert (by_balancer.returncode, by_balancer.stdout) == (2, by_file.stdout)
