"""Commands of a server that is no admin side, and answers with JSON all the same: one line, no traceback."""

from __future__ import annotations

from typing import Any

import pytest

from support.http_answers import http_answer, http_answers
from tcpbalance.cli import main
from tcpbalance.cli.command_error import UNREACHABLE

KEYS = ("pools", "frontends", "sessions", "bans", "affinity", "events", "plan", "processes", "forgotten")

REQUESTS = 3
"""That a command makes at most."""

RUBBISH: list[Any] = [
    {},
    [],
    "pools",
    dict.fromkeys(KEYS, 5),
    dict.fromkeys(KEYS),
    {key: [5] for key in KEYS},
    {key: [{"name": 5, "backends": 5}] for key in KEYS},
    {key: {"added": [], "changed": 5} for key in KEYS},
]

COMMANDS = [
    ["status"],
    ["sessions"],
    ["sessions", "--end", "1.1.1"],
    ["health", "a"],
    ["bans"],
    ["bans", "--lift", "127.0.0.1"],
    ["affinity"],
    ["affinity", "--forget", "--pool", "web"],
    ["events"],
    ["plan"],
    ["reload"],
    ["drain", "a"],
    ["ready", "a"],
    ["weight", "a", "3"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_it_is_said_in_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for content in RUBBISH:
        with http_answers(*[http_answer("200 OK", content)] * REQUESTS) as server:
            status = main([command[0], f"--admin={server.address}", *command[1:]])
        output, errors = capsys.readouterr()
        assert (status, output) == (UNREACHABLE, ""), content
        assert errors.endswith("what answers there is not a balancer's admin side\n"), content
        assert errors.count("\n") == 1
