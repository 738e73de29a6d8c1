"""The tutorial of the web site, followed step by step, prints what it shows."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from support.daemon import TCPBALANCE
from support.documented import TREE
from support.ports import free_port
from support.process import Process
from support.waiting import until

PAGE = (TREE / "docs" / "tutorial" / "web-site.md").read_text()
BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORTS = ("9001", "9002", "8080", "8443")
DONE = "- done -\n"

pytestmark = pytest.mark.requires("curl", "openssl")


def page_for_this_machine() -> str:
    """Give the page with ports that nobody has."""
    text = PAGE
    for port in PORTS:
        text = re.sub(rf"\b{port}\b", str(free_port()), text)
    return text.replace("python3 ", f"{sys.executable} ").replace(".venv/bin/tcpbalance", f"{TCPBALANCE}")


def steps_of(page: str) -> list[tuple[str, str]]:
    """Give the commands of the page, each with what it prints."""
    shown = "".join(text for kind, text in BLOCKS.findall(page) if kind == "console")
    return [(command, output) for command, output in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", shown, re.M)]


class Terminal:
    """A shell in which one command follows the other."""

    def __init__(self, shell: subprocess.Popen[str]) -> None:
        self._shell = shell

    def run(self, command: str) -> str:
        """Give what a command prints."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\nprintf '%s' '{DONE}'\n")
        self._shell.stdin.flush()
        output = ""
        while not output.endswith(DONE):
            line = self._shell.stdout.readline()
            assert line, output
            output += line
        return output.removesuffix(DONE)


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    with subprocess.Popen(
        ["bash"],
        cwd=folder,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as shell:
        opened = Terminal(shell)
        opened.run("set -m; trap 'kill $(jobs -p)' EXIT")
        try:
            yield opened
        finally:
            assert shell.stdin is not None
            shell.stdin.close()


def has_started(command: str) -> bool:
    """Tell whether the server that a command starts takes connections."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", int(command.split()[3]))) == 0


def test_a_web_site_in_ten_minutes(tmp_path: Path) -> None:
    page = page_for_this_machine()
    (app,) = (text for kind, text in BLOCKS.findall(page) if kind == "python")
    config, added = (text for kind, text in BLOCKS.findall(page) if kind == "toml")
    (tmp_path / "app").write_text(app)
    (tmp_path / "tcpbalance.toml").write_text(config)
    log = tmp_path / "balancer.log"
    with terminal(tmp_path) as shell, ExitStack() as second_terminal:
        for command, output in steps_of(page):
            if " run " in command:
                balancer = second_terminal.enter_context(Process(command.split(), tmp_path, log))
                until(lambda: log.read_text().count(" listens on ") == 2, log.read_text)
            elif command.startswith("pkill "):
                # There may be other balancers on this machine.
                changed = config.replace('pool = "app"\n', f'pool = "app"\n{added}')
                (tmp_path / "tcpbalance.toml").write_text(changed)
                balancer.send(signal.SIGHUP)
                until(lambda: "reloaded" in log.read_text(), log.read_text)
            else:
                job = re.search("(?<=^kill )%.$", command)
                found = shell.run(command if job is None else f"{command}; wait {job[0]}")
                assert output in ("", found), command
                if command.endswith("&"):
                    until(partial(has_started, command), command)
        until(lambda: log.read_text().count("reason=answered_here") == 2, log.read_text)
