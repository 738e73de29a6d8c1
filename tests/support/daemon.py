"""The balancer as users run it: in a process of its own, with a configuration in its own folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sysconfig
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from support.forker import Forker
from support.process import Process
from support.waiting import until
from tcpbalance.net.data_path import DataPathName

TWISTD = Path(sysconfig.get_path("scripts")) / "twistd"
TCPBALANCE = TWISTD.with_name("tcpbalance")

Starter = Literal["twistd", "tcpbalance run"]
"""The two commands that run a balancer."""

_LISTENS = re.compile(r"frontend (\S+) listens on (\S+) by the .*\n")
_FAILURE = re.compile(r"^.*(?:#critical\]|Traceback \(most recent call last\)).*$", re.MULTILINE)


class Daemon:
    """One balancer, running from `with` to its end, and to be started again in the same folder if need be.

    :param config: the whole configuration; a frontend that listens on port 0 gets a free one.
    :param folder: where it runs and where its files are.
    :param lacks: capabilities that it is not to have when we are root, such as "net_bind_service".
    :param stdout: a descriptor for its standard output; its own log then goes to a file.
    :param reactor: the name of the reactor that it is to take; its own choice by default.
    :param environment: variables that it gets on top of ours.
    :param ignores: names of signals that are ignored when it starts, such as "HUP".
    :param may_fail: whether an error in its log is what the test is about, and no reason to fail it.
    :cvar data_path_name: put on top of the configuration; None to leave that as it is.
    :cvar starter: the command that runs it.
    :cvar forker: starts it where that is ``twistd`` with a configuration alone; None to run the program,
        which alone can start its successor.
    """

    data_path_name: DataPathName | None = None
    starter: Starter = "twistd"
    forker: Forker | None = None

    def __init__(
        self,
        config: str,
        folder: Path,
        *,
        lacks: Sequence[str] = (),
        stdout: int | None = None,
        reactor: str | None = None,
        environment: Mapping[str, str] | None = None,
        ignores: Sequence[str] = (),
        may_fail: bool = False,
    ) -> None:
        self.folder = folder
        self.config_file = folder / "tcpbalance.toml"
        self.config_file.write_text(self._with_data_path(config))
        self._config = config
        self._lacks = lacks
        self._stdout = stdout
        self._reactor = [] if reactor is None else [f"--reactor={reactor}"]
        self._environment = environment
        # A shell of its own, so that nothing else in the tests comes to ignore them.
        self._shell = ["sh", "-c", f"trap '' {' '.join(ignores)}; exec \"$@\"", "sh"] if ignores else []
        self._log_file = folder / "daemon.log"
        self._log_start = 0
        self._may_fail = may_fail
        self._process: Process | None = None

    def _with_data_path(self, config: str) -> str:
        return config if self.data_path_name is None else f'data_path = "{self.data_path_name}"\n{config}'

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # There is no `__exit__` then, and one that is late would go on beside the other tests.
            if self._process is not None:
                self._process.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # pytest shows this beside the error.
            print(f"--- log of the balancer\n{self.log}")  # noqa: T201
        if self._process is not None:
            self._process.end()
        if error is None and not self._may_fail:
            self._look_for_errors()

    def _look_for_errors(self) -> None:
        """Fail a test whose balancer logged an error, at any of its starts.

        :raises AssertionError: it did.
        """
        text = self._log_file.read_text(errors="replace") if self._log_file.exists() else ""
        assert not _FAILURE.search(text), f"the balancer logged an error\n{text}"

    def launch(self) -> Process:
        """Start the process and do not wait for anything."""
        self._log_start = self._log_file.stat().st_size if self._log_file.exists() else 0
        self._process = Process(
            [*self._shell, *self.command],
            self.folder,
            self._log_file,
            lacks=self._lacks,
            stdout=self._stdout,
            environment=self._environment,
            forker=self.forker if self._is_plain else None,
        )
        return self._process

    @property
    def _is_plain(self) -> bool:
        """Whether it is ``twistd`` without anything that has to be done before it runs."""
        prepared = self._lacks or self._shell or "LD_PRELOAD" in (self._environment or {})
        return not prepared and self.command[0] == f"{TWISTD}"

    @property
    def command(self) -> list[str]:
        """The program and its arguments."""
        if self.starter == "tcpbalance run":
            return [f"{TCPBALANCE}", "run", *self._reactor, f"{self.config_file}"]
        log = [] if self._stdout is None else [f"--logfile={self._log_file}"]
        options = ["-n", "--pidfile=", *self._reactor, *log]
        return [f"{TWISTD}", *options, "tcpbalance", "--config", f"{self.config_file}"]

    def start(self) -> None:
        """Start the process and wait until every frontend listens on all its addresses."""
        process = self.launch()
        expected = _listening_addresses(self._config)

        def ready() -> bool:
            if process.exit_code is not None:
                raise AssertionError(f"ended with exit status {process.exit_code}\n{self.log}")
            return len(_LISTENS.findall(self.log)) >= expected

        until(ready, lambda: f"{expected} addresses listening\n{self.log}")

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send a signal and wait for the end.

        :returns: the exit status, negative for a signal.
        """
        return self.process.stop(number, seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send(number)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait for the end.

        :returns: the exit status, negative for a signal.
        """
        return self.process.wait(seconds)

    @property
    def process(self) -> Process:
        """The process, running or ended."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def log(self) -> str:
        """What it printed since it was last started."""
        with self._log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def wait_for_log(self, pattern: str, seconds: float = 20.0) -> re.Match[str]:
        """Wait until a line of the log has `pattern`, a regular expression, in it."""
        found = until(
            lambda: re.search(pattern, self.log), lambda: f"{pattern!r} in the log\n{self.log}", seconds
        )
        assert found is not None
        return found

    @property
    def addresses(self) -> dict[str, list[str]]:
        """What each frontend listens on, as the log has it."""
        found: dict[str, list[str]] = {}
        for frontend, address in _LISTENS.findall(self.log):
            found.setdefault(frontend, []).append(address)
        return found

    @property
    def ports(self) -> dict[str, int]:
        """The port of each frontend's first address."""
        return {
            frontend: int(addresses[0].rpartition(":")[2])
            for frontend, addresses in self.addresses.items()
            if not addresses[0].startswith("unix:")
        }

    @property
    def port(self) -> int:
        """The port of the only frontend."""
        (port,) = self.ports.values()
        return port

    @property
    def access_records(self) -> list[dict[str, Any]]:
        """What the access log has, when the configuration says JSON and `access.log`."""
        file = self.folder / "access.log"
        # The last line may be half written.
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for_records(self, count: int, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Wait until the access log has at least `count` records."""
        until(
            lambda: len(self.access_records) >= count,
            lambda: f"{count} records: {self.access_records}",
            seconds,
        )
        return self.access_records

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def processor_time(self) -> int:
        """Processor time used so far, in ticks of the system's clock."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    @property
    def descriptors(self) -> dict[int, str]:
        """The descriptors it has open, and on what."""
        found = {}
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            # One that is closed while we look is not open.
            with contextlib.suppress(FileNotFoundError):
                found[int(entry.name)] = os.readlink(entry)
        return found

    def catches(self, number: signal.Signals) -> bool:
        """Tell whether it has a handler of its own for a signal."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status, re.MULTILINE)
        assert found is not None
        return bool(int(found[1], 16) >> (number - 1) & 1)

    @property
    def children(self) -> list[int]:
        """The process ids of its children."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def _listening_addresses(config: str) -> int:
    frontends = tomllib.loads(config)["frontends"].values()
    return sum(
        1 if isinstance(frontend["listen"], str) else len(frontend["listen"]) for frontend in frontends
    )
