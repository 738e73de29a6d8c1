"""What the table of CONNECT may not have, each with its line and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.configs import frontend, problems
from support.users import users_file
from tcpbalance.config.errors import ConfigError
from tcpbalance.config.loader import load
from tcpbalance.config_reader import read_config

PROXY = '[frontends.proxy]\nlisten = "127.0.0.1:3128"\nmode = "http"\n'
CONNECT = f"{PROXY}[frontends.proxy.connect]\n"
_KEY = "5: frontends.proxy.connect."
_DESTINATION = (
    'must be a destination such as "www.example.com:443", "*.example.com:443" or "10.0.0.0/8:443", got '
)
_OPEN = 'cannot have "*" for all clients, add clients or users_file, or allow to frontends.proxy.access'
_NETWORK = (
    'must be a network such as "10.0.0.0/8" or "2001:db8::/32", got "10.0.0.1/8": no bit may be set behind '
    'the prefix, did you mean "10.0.0.0/8"?'
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            frontend('connect = { allow = ["a.example:443"] }'),
            '4: frontends.db.connect: has no effect without mode = "http"',
        ),
        (
            CONNECT,
            '4: frontends.proxy.connect.allow: is required, such as allow = ["www.example.com:443"]',
        ),
        (f"{CONNECT}allow = []", f"{_KEY}allow: must have at least one destination"),
        (
            f'{CONNECT}allow = ["www.example.com"]',
            f'{_KEY}allow[0]: {_DESTINATION}"www.example.com": a port is missing, and IPv6 needs brackets',
        ),
        (
            f'{CONNECT}allow = ["*:443"]',
            f"{_KEY}allow: {_OPEN}",
        ),
        (
            f'{CONNECT}allow = ["a.example:443"]\nallowed = []',
            '6: frontends.proxy.connect.allowed: unknown key, did you mean "allow"?',
        ),
        (
            f'{CONNECT}allow = ["a.example:443"]\nprivate_networks = ["10.0.0.1/8"]',
            f"6: frontends.proxy.connect.private_networks[0]: {_NETWORK}",
        ),
        (
            f'{CONNECT}allow = ["a.example:443"]\nconnect_timeout = 0',
            "6: frontends.proxy.connect.connect_timeout: must be longer than 0s, got 0s",
        ),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


@pytest.mark.parametrize(
    "more",
    [
        'connect.clients = ["10.0.0.0/8"]',
        'connect.users_file = "users"',
        'access.allow = ["10.0.0.0/8"]',
    ],
)
def test_everywhere_is_for_some_clients(tmp_path: Path, more: str) -> None:
    users_file(tmp_path)
    path = tmp_path / "tcpbalance.toml"
    path.write_text(f'{PROXY}connect.allow = ["*:443"]\n{more}\n')
    assert load(path, policies=(), probes={}).frontends["proxy"].connect is not None


def test_the_file_of_users_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "tcpbalance.toml"
    path.write_text(f'{CONNECT}allow = ["a.example:443"]\nusers_file = "users"\n')
    with pytest.raises(ConfigError, match=r"toml:6: frontends.proxy.connect.users_file: cannot read "):
        read_config(path)
    users_file(tmp_path)
    connect = read_config(path).frontends["proxy"].connect
    assert connect is not None
    assert connect.users_file == str(tmp_path / "users")


def test_wrong_passwords_lead_to_bans(tmp_path: Path) -> None:
    text = f'{PROXY}limits.ban_after = 5\nconnect = {{ allow = ["a.example:443"], users_file = "users" }}\n'
    assert problems(tmp_path, text) == []
    (found,) = problems(tmp_path, text.replace(', users_file = "users"', ""))
    assert found.startswith("4: frontends.proxy.limits.ban_after: has no effect where no client is refused")
