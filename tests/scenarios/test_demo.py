"""`make run`: three backends behind one frontend, and a text that says what to try and is right."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.ports import free_port
from support.process import Process, run
from support.programs import require
from support.waiting import until
from tcpbalance import demo

ELSEWHERE = """
from tcpbalance import demo
demo.LISTEN = "127.0.0.1:{port}"
from twisted.scripts.twistd import run
run()
"""
"""`twistd`, with the demo on another port than its own, which may be taken on the machine of the test."""

pytestmark = pytest.mark.requires("curl")


@contextmanager
def running(folder: Path) -> Iterator[tuple[Process, list[str]]]:
    """Run the demo.

    :returns: its process, and the commands that it says are worth a try.
    """
    options = ["-n", "--pidfile=", "tcpbalance", "--demo"]
    command = [sys.executable, "-c", ELSEWHERE.format(port=free_port()), *options]
    with Process(command, folder, folder / "demo.log") as process:
        until(lambda: "Ctrl-C ends the demo.\n" in process.output, lambda: process.output)
        yield process, re.findall(r"curl .*?(?=  |\n)", process.output)


def curl(command: str) -> str:
    """Run a command that the demo has printed."""
    (program,) = require("curl")
    return run([program, "--silent", "--show-error", *command.split()[1:]])


def rotation(ask: str) -> set[str]:
    """The backends that answer, each of which has had its turn."""
    return {curl(ask).removeprefix("hello from backend ").strip() for _ in range(6)}


def test_what_it_says_can_be_tried(tmp_path: Path) -> None:
    with running(tmp_path) as (_, (ask, routed, redirected, down, up)):
        assert rotation(ask) == {"one", "two", "three"}
        assert rotation(routed) == {"two"}
        assert rotation(redirected) == {"one", "two", "three"}
        assert curl(down) == "backend two says it is down from now on\n"
        until(lambda: rotation(ask) == {"one", "three"}, "two out of rotation")
        assert curl(up) == "backend two says it is up from now on\n"
        until(lambda: rotation(ask) == {"one", "two", "three"}, "two in rotation again")


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    with running(tmp_path) as (process, (ask, *_)):
        curl(ask)
        assert process.stop(signal.SIGINT) == 0
        assert "Traceback" not in process.output


def test_its_own_port_is_the_one_in_the_instructions() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    assert demo.LISTEN in readme.read_text()
