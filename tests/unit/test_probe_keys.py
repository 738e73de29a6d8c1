"""The keys of our own probes, as an operator writes them, by way of the entry points of the probes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcpbalance import (
    CommandProbe,
    ConfigError,
    ExpectProbe,
    HttpProbe,
    Probe,
    StatusSet,
    TcpProbe,
    TlsProbe,
    read_config,
)

BEFORE = """
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
[pools.web]
backends = ["10.0.0.1:80"]
[pools.web.health]
"""


def read(folder: Path, keys: str) -> object:
    file = folder / "tcpbalance.toml"
    file.write_text(BEFORE + keys)
    health = read_config(file).pools["web"].health
    assert health is not None
    return health.probe


FULL_TEXT = """
check = "http"
path = "/health?deep=1"
host = "web.internal"
status = "200,204"
contains = "ok"
"""
FULL = HttpProbe("/health?deep=1", "web.internal", StatusSet(((200, 200), (204, 204))), "ok")


@pytest.mark.parametrize(
    ("keys", "probe"),
    [
        ("", TcpProbe()),
        ('check = "tcp"', TcpProbe()),
        ('check = "tls"', TlsProbe()),
        ('check = "http"', HttpProbe(path="/", host=None, status=StatusSet(((200, 399),)), contains=None)),
        (FULL_TEXT, FULL),
        ('check = "http"\nstatus = 204', HttpProbe(status=StatusSet(((204, 204),)))),
        ('check = "expect"\ncontains = "220 "', ExpectProbe(contains="220 ", send=None)),
        ('check = "expect"\nsend = "PING\\r\\n"\ncontains = "PONG"', ExpectProbe("PONG", "PING\r\n")),
        ('check = "command"\nargv = ["check", "{host}"]', CommandProbe(("check", "{host}"))),
    ],
)
def test_what_an_operator_may_write(keys: str, probe: Probe, tmp_path: Path) -> None:
    assert read(tmp_path, keys) == probe


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ('check = "http"\npath = "health"', 'path: must begin with "/"'),
        ('check = "http"\npath = "/a b"', 'path: must begin with "/"'),
        ('check = "http"\npath = "/a#b"', 'path: must begin with "/"'),
        ('check = "http"\npath = "/\\r\\nX: y"', 'path: must begin with "/"'),
        ('check = "http"\nhost = "a\\r\\nX: y"', "host: must be printable ASCII without blanks"),
        ('check = "http"\nhost = ""', "host: must be printable ASCII without blanks"),
        ('check = "http"\nstatus = "2xx"', "status: must be status codes from 200 to 599"),
        ('check = "http"\ncontains = ""', "contains: must have at least one character"),
        ('check = "expect"', "contains: is required"),
        ('check = "expect"\ncontains = ""', "contains: must have at least one character"),
        ('check = "command"', "argv: is required"),
        ('check = "command"\nargv = "check"', 'argv: must be a list of strings, got "check"'),
        ('check = "command"\nargv = ["check", 1]', "argv: must be a list of strings"),
        ('check = "command"\nargv = []', "argv: must begin with a program"),
        ('check = "command"\nargv = ["", "x"]', "argv: must begin with a program"),
        ('check = "command"\nargv = ["a\\u0000b"]', "argv: must not contain NUL"),
        ('check = "tcp"\npath = "/"', 'path: unknown key for check = "tcp"'),
    ],
)
def test_what_is_refused(keys: str, mistake: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, keys)
    (problem,) = caught.value.problems
    assert f"pools.web.health.{mistake}" in str(problem)


@pytest.mark.parametrize(
    ("program", "path"),
    [
        ("./check", "{folder}/check"),
        ("bin/check", "{folder}/bin/check"),
        ("/bin/check", "/bin/check"),
        ("check", "check"),
    ],
)
def test_a_relative_path_is_relative_to_the_file(program: str, path: str, tmp_path: Path) -> None:
    probe = read(tmp_path, f'check = "command"\nargv = ["{program}", "./x"]')
    assert probe == CommandProbe((path.format(folder=tmp_path), "./x"))
