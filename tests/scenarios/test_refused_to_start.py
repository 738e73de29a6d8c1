"""What cannot be is said in a line each, with exit status 1, and nothing is left open."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.command import command
from support.daemon import Daemon
from support.ports import accepts, free_port

GOOD = """
[frontends.web]
listen = "127.0.0.1:{port}"
pool = "web"

[pools.web]
backends = ["127.0.0.1:9"]
"""

BAD = """
shutdown_grace = "soon"

[frontends.web]
listen = ["127.0.0.1:{port}", "127.0.0.1"]
pool = "wbe"
idle_timout = "1m"

[pools.web]
balance = "round_robbin"
backends = [
  "127.0.0.1:9",
  {{ address = "127.0.0.1:10", weight = -3 }},
]
"""

# Line and key of each mistake, and a word of its mend.
MISTAKES = [
    (2, "shutdown_grace", "duration"),
    (5, "frontends.web.listen[1]", "port"),
    (6, "frontends.web.pool", "web"),
    (7, "frontends.web.idle_timout", "idle_timeout"),
    (10, "pools.web.balance", "round_robin"),
    (13, "pools.web.backends[1].weight", "1 to 256"),
]


def refused(daemon: Daemon) -> str:
    """Start a daemon that cannot start.

    :returns: what it printed.
    """
    with daemon.launch() as process:
        assert process.wait(30) == 1, daemon.log
    assert "Traceback" not in daemon.log
    assert "listens on" not in daemon.log
    return daemon.log


def test_every_mistake_is_said_with_its_line_and_no_port_is_opened(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        # Were it to open the port before it has read everything, it would say that it is in use.
        daemon = Daemon(BAD.format(port=port), tmp_path)
        said = refused(daemon)
        checked = command("check", daemon.config_file)
    assert (checked.returncode, checked.stdout + checked.stderr) == (1, said)
    lines = said.splitlines()
    for number, key, mend in MISTAKES:
        start = f"{tmp_path}/tcpbalance.toml:{number}: {key}: "
        (line,) = [line for line in lines if line.startswith(start)]
        assert mend in line.removeprefix(start)
    assert len(lines) == len(MISTAKES)


def test_one_address_under_two_names(tmp_path: Path) -> None:
    """Both can be bound, and the second cannot be listened on: that shows when clients are let in."""
    port = free_port()
    config = GOOD.format(port=port) + f'[frontends.again]\nlisten = "localhost:{port}"\npool = "web"\n'
    daemon = Daemon(config, tmp_path)
    with daemon.launch() as process:
        assert process.wait(30) == 1, daemon.log
    assert "Traceback" not in daemon.log
    assert f"frontend again: cannot listen on 127.0.0.1:{port}: address already in use" in daemon.log
    assert not accepts(port)


def test_check_of_a_good_file_exits_with_0_and_opens_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = GOOD.format(port=taken.getsockname()[1])
        (tmp_path / "good.toml").write_text(text)
        checked = command("check", tmp_path / "good.toml")
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""


NO_CONFIGURATION = {
    "empty": (b"", "frontends"),
    "not TOML": (b"[frontends.web\n", ":1:"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", "tcpbalance.toml:1: "),
    "not UTF-8": (b"\xff\xfe", "tcpbalance.toml:1: "),
}


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    content, said = NO_CONFIGURATION["not UTF-8"]
    daemon = Daemon("", tmp_path)
    daemon.config_file.write_bytes(content)
    assert said in refused(daemon)


@pytest.mark.parametrize("kind", NO_CONFIGURATION)
def test_check_of_a_file_that_is_no_configuration(tmp_path: Path, kind: str) -> None:
    content, said = NO_CONFIGURATION[kind]
    file = tmp_path / "tcpbalance.toml"
    file.write_bytes(content)
    checked = command("check", file)
    assert (checked.returncode, said in checked.stdout + checked.stderr) == (1, True)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    daemon = Daemon("", tmp_path)
    daemon.config_file.unlink()
    said = refused(daemon)
    assert len(said.splitlines()) == 1
    assert "tcpbalance.toml" in said
    assert "No such file" in said or "not found" in said or "no such file" in said


def test_an_address_in_use_is_named_and_other_frontends_are_not_left_open(tmp_path: Path) -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = GOOD.format(port=free) + GOOD.format(port=port).split("[pools")[0].replace(".web]", ".two]")
        said = refused(Daemon(config, tmp_path))
    assert len(said.splitlines()) == 1
    assert "frontend two" in said
    assert f"127.0.0.1:{port}" in said
    assert not accepts(free)


def test_a_unix_socket_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    config = GOOD.format(port=0).replace("127.0.0.1:0", "unix:web.sock")
    with Daemon(config, tmp_path):
        (tmp_path / "second").mkdir()
        second = Daemon(config.replace("unix:web.sock", f"unix:{tmp_path}/web.sock"), tmp_path / "second")
        said = refused(second)
        assert "frontend web" in said
        assert f"unix:{tmp_path}/web.sock" in said
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "web.sock"))


def _lowest_for_everyone() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


@pytest.mark.skipif(_lowest_for_everyone() <= 7, reason="this system lets everyone have every port")
def test_a_port_that_is_not_permitted_is_named(tmp_path: Path) -> None:
    said = refused(Daemon(GOOD.format(port=7), tmp_path, lacks=["net_bind_service"]))
    assert len(said.splitlines()) == 1
    assert "frontend web" in said
    assert "127.0.0.1:7" in said
    assert "permi" in said.lower()


def test_a_folder_that_is_not_permitted_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    config = GOOD.format(port=0).replace("127.0.0.1:0", "unix:closed/web.sock")
    said = refused(Daemon(config, tmp_path, lacks=["dac_override"]))
    assert len(said.splitlines()) == 1
    assert "frontend web" in said
    assert f"unix:{tmp_path}/closed/web.sock" in said
    assert "permi" in said.lower()


def test_an_access_log_that_cannot_be_opened_is_named_and_no_port_is_left_open(tmp_path: Path) -> None:
    port = free_port()
    config = GOOD.format(port=port) + '[access_log]\npath = "missing/access.log"\n'
    said = refused(Daemon(config, tmp_path))
    assert f"access log {tmp_path}/missing/access.log: cannot be opened: No such file or directory" in said
    assert not accepts(port)


ADMIN = """
[admin]
listen = "{listen}"
{keys}
[frontends.web]
listen = {web}
pool = "web"
[pools.web]
backends = ["127.0.0.1:9"]
"""
TOKEN_FILE = 'token_file = "full"'
BOTH_FILES = f'{TOKEN_FILE}\nread_only_token_file = "other"'
TOKEN = "0123456789abcdef"
ONE_LINE = "must have one line with a token of 16 to 4096 ASCII characters"


@pytest.mark.parametrize(
    ("keys", "files", "listen", "web", "key", "says"),
    [
        (TOKEN_FILE, {"full": ""}, "{free}", "{free}", "token_file", ONE_LINE),
        (TOKEN_FILE, {"full": "short"}, "{free}", "{free}", "token_file", ONE_LINE),
        (TOKEN_FILE, {"full": f"{TOKEN} {TOKEN}"}, "{free}", "{free}", "token_file", ONE_LINE),
        (TOKEN_FILE, {"full": "é" * 20}, "{free}", "{free}", "token_file", ONE_LINE),
        (TOKEN_FILE, {}, "{free}", "{free}", "token_file", "no such file or directory"),
        (
            BOTH_FILES,
            {"full": TOKEN},
            "{free}",
            "{free}",
            "read_only_token_file",
            "no such file or directory",
        ),
        (
            BOTH_FILES,
            {"full": TOKEN, "other": f"{TOKEN}\n"},
            "{free}",
            "{free}",
            "read_only_token_file",
            "must have another token than",
        ),
        ("", {}, "{port}", "{port}", "listen", "is taken by frontends.web.listen"),
        (TOKEN_FILE, {"full": TOKEN}, "{all}", "{port}", "listen", "is taken by frontends.web.listen"),
        ("", {}, "{port}", "{all}", "listen", "is taken by frontends.web.listen"),
        ("", {}, "unix:same.sock", "unix:same.sock", "listen", "is taken by frontends.web.listen"),
    ],
)
def test_what_the_admin_side_cannot_start_with_is_found_by_a_check(
    tmp_path: Path, keys: str, files: dict[str, str], listen: str, web: str, key: str, says: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    port = free_port()
    places = {"free": "127.0.0.1:0", "port": f"127.0.0.1:{port}", "all": f"0.0.0.0:{port}"}
    listen, web = listen.format(**places), web.format(**places)
    daemon = Daemon(ADMIN.format(keys=keys, listen=listen, web=f'["{web}"]'), tmp_path)
    assert says in refused(daemon)
    checked = command("check", daemon.config_file)
    (line,) = checked.stderr.splitlines()
    assert (checked.returncode, checked.stdout) == (1, "")
    assert f": admin.{key}: " in line
    assert says in line
    assert TOKEN not in line


def test_a_check_warns_of_a_token_that_all_users_may_read(tmp_path: Path) -> None:
    (tmp_path / "full").write_text(TOKEN)
    (tmp_path / "full").chmod(0o644)
    text = ADMIN.format(keys=TOKEN_FILE, listen="127.0.0.1:0", web='["127.0.0.1:0"]')
    checked = command("check", Daemon(text, tmp_path).config_file)
    file = tmp_path / "full"
    warning = (
        f"admin.token_file: {file} can be read or written by all users of this machine: chmod 0600 {file}"
    )
    assert checked.stderr == f"{tmp_path}/tcpbalance.toml:4: warning: {warning}\n"
    assert checked.returncode == 0
