"""Where the command line looks for the admin side."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tcpbalance.cli import admin_address
from tcpbalance.cli.admin_address import AdminAddress, find_admin, parse_admin
from tcpbalance.cli.command_error import REFUSED, UNREACHABLE, CommandError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:9000", AdminAddress("127.0.0.1:9000", "127.0.0.1", 9000)),
        ("http://127.0.0.1:9000/", AdminAddress("127.0.0.1:9000", "127.0.0.1", 9000)),
        ("[::1]:9000", AdminAddress("[::1]:9000", "::1", 9000)),
        ("localhost:1", AdminAddress("localhost:1", "localhost", 1)),
        ("https://lb.example.com", AdminAddress("lb.example.com", "lb.example.com", 443, tls=True)),
        ("unix:/run/a.sock", AdminAddress("unix:/run/a.sock", path="/run/a.sock")),
        ("unix:a.sock", AdminAddress("unix:a.sock", path="a.sock")),
        ("/run/a.sock", AdminAddress("unix:/run/a.sock", path="/run/a.sock")),
        ("./a.sock", AdminAddress("unix:./a.sock", path="./a.sock")),
    ],
)
def test_an_address_is_read(text: str, address: AdminAddress) -> None:
    assert parse_admin(text, "--admin") == address


@pytest.mark.parametrize(
    "text",
    ["", "a", "127.0.0.1", "http://a", "ftp://a:1", "a:b", "a:99999", "http://a:1/api", "http://[::1:1"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(CommandError, match=r"^--admin: must be like") as caught:
        parse_admin(text, "--admin")
    assert caught.value.status == REFUSED


@pytest.fixture(autouse=True)
def usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put what this machine may have out of sight."""
    monkeypatch.setattr(admin_address, "USUAL_SOCKET", tmp_path / "run.sock")
    monkeypatch.setattr(admin_address, "USUAL_CONFIG", tmp_path / "etc.toml")
    return tmp_path


def test_nothing_is_found(usual_places: Path) -> None:
    with pytest.raises(CommandError) as caught:
        find_admin(None, None, None, {})
    assert caught.value.status == UNREACHABLE
    assert str(caught.value) == (
        f"no admin side found: there is no socket {usual_places}/run.sock, and no {usual_places}/etc.toml "
        "with [admin]; say where it is with --admin, --config or TCPBALANCE_ADMIN"
    )


def test_each_place_in_its_turn(usual_places: Path) -> None:
    (usual_places / "etc.toml").write_text('[admin]\nlisten = "127.0.0.1:1"\n')
    assert find_admin(None, None, None, {}).text == "127.0.0.1:1"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(usual_places / "run.sock"))
    assert find_admin(None, None, None, {}).path == f"{usual_places}/run.sock"
    environment = {"TCPBALANCE_ADMIN": "127.0.0.1:2"}
    assert find_admin(None, None, None, environment).text == "127.0.0.1:2"
    (usual_places / "other.toml").write_text('[admin]\nlisten = "127.0.0.1:3"\n')
    assert find_admin(None, f"{usual_places}/other.toml", None, environment).text == "127.0.0.1:3"
    assert find_admin("127.0.0.1:4", f"{usual_places}/other.toml", None, environment).text == "127.0.0.1:4"


def test_a_token_file_that_is_no_path_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[admin]\nlisten = "127.0.0.1:1"\ntoken_file = 5\n')
    with pytest.raises(CommandError, match=r"a\.toml: admin\.token_file: must be a string, got 5$"):
        find_admin(None, str(file), None, {})


def test_a_variable_that_is_no_address_is_named() -> None:
    with pytest.raises(CommandError, match=r"^TCPBALANCE_ADMIN: must be like"):
        find_admin(None, None, None, {"TCPBALANCE_ADMIN": "x"})


@pytest.mark.parametrize(
    ("listen", "host", "port", "path"),
    [
        ("0.0.0.0:9000", "127.0.0.1", 9000, ""),
        ("[::]:9000", "::1", 9000, ""),
        ("10.0.0.1:9000", "10.0.0.1", 9000, ""),
        ("unix:admin.sock", "", 0, "{}/admin.sock"),
        ("unix:/run/admin.sock", "", 0, "/run/admin.sock"),
    ],
)
def test_what_a_balancer_listens_on_is_connected_to(
    tmp_path: Path, listen: str, host: str, port: int, path: str
) -> None:
    (tmp_path / "a.toml").write_text(f'workers = 2\n[admin]\nlisten = "{listen}"\n')
    found = find_admin(None, str(tmp_path / "a.toml"), None, {})
    assert (found.host, found.port, found.path) == (host, port, path.format(tmp_path))


def test_the_token_of_the_configuration_is_used_unless_another_is_given(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text('[admin]\nlisten = "127.0.0.1:1"\ntoken_file = "full"\nread_only_token_file = "read"\n')
    # None of them can be read: the error is about the first.
    assert find_admin(None, str(config), None, {}).token_file == tmp_path / "full"
    (tmp_path / "read").touch()
    assert find_admin(None, str(config), None, {}).token_file == tmp_path / "read"
    (tmp_path / "full").touch()
    assert find_admin(None, str(config), None, {}).token_file == tmp_path / "full"
    environment = {"TCPBALANCE_TOKEN_FILE": "/b"}
    assert find_admin(None, str(config), None, environment).token_file == Path("/b")
    assert find_admin(None, str(config), "/c", environment).token_file == Path("/c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, ": cannot be read: No such file or directory"),
        ("a", ": Expected '=' after a key"),
        ("admin = 1", r": has no \[admin\] with listen: this balancer has no admin side"),
        ("", r": has no \[admin\] with listen: this balancer has no admin side"),
        ('[admin]\nlisten = "x"', ": admin.listen: must be like"),
    ],
)
def test_a_configuration_without_an_admin_side(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "a.toml").write_text(text)
    with pytest.raises(CommandError, match=rf"^{tmp_path}/a.toml{message}"):
        find_admin(None, f"{tmp_path}/a.toml", None, {})
