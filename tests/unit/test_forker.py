"""A program that is forked is what it would be if it were run."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.forker import Forker
from support.process import Process, forking
from support.waiting import until

TELLS = """
import atexit, json, os, signal, sys
atexit.register(print, "ends")
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
print(json.dumps({
    "words": sys.argv,
    "folder": os.getcwd(),
    "beside": sys.path[0],
    "variable": os.environ["VARIABLE"],
    "parent": os.getppid(),
    "descriptors": [number for number in range(20) if os.path.exists(f"/proc/self/fd/{number}")],
    "signals": [str(handler) for handler in handlers],
    "reactor": "twisted.internet.reactor" in sys.modules,
}), flush=True)
sys.exit(3)
"""


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with forking() as forker:
        yield forker


def started(forker: Forker, folder: Path, text: str, *words: str) -> Process:
    """Start a script."""
    (script := folder / "script").write_text(text)
    return Process([script, *words], folder, folder / "output", forker=forker)


def test_it_has_what_it_was_started_with(
    forker: Forker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARIABLE", "set since")
    with started(forker, tmp_path, TELLS, "a", "b") as process:
        assert process.wait() == 3
    told, last = process.output.splitlines()
    # Some that start the tests have them ignore signals, as nohup does.
    with Process([sys.executable, tmp_path / "script"], tmp_path, tmp_path / "run") as run:
        assert run.wait() == 3
    assert json.loads(told) == {
        "words": [f"{tmp_path}/script", "a", "b"],
        "folder": str(tmp_path),
        "beside": str(tmp_path),
        "variable": "set since",
        "parent": os.getpid(),
        "descriptors": [0, 1, 2],
        "signals": json.loads(run.output.splitlines()[0])["signals"],
        "reactor": False,
    }
    assert last == "ends"


def test_it_may_be_a_module_with_more_descriptors(forker: Forker, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as reads, (tmp_path / "output").open("wb") as output:
        descriptors = {1: output.fileno(), 2: output.fileno(), 3: writer}
        writes = ["-m", "timeit", "-n1", "-r1", "import os; os.write(3, b'3')"]
        process = forker.fork(writes, tmp_path, descriptors)
        os.close(writer)
        assert (process.wait(20), reads.read()) == (0, b"3")


def test_each_is_a_process_of_its_own(forker: Forker, tmp_path: Path) -> None:
    # Both write to one file, and a print may be two writes.
    waits = "import os, signal\nos.write(1, b'waits\\n')\nsignal.pause()"
    with started(forker, tmp_path, waits) as first, started(forker, tmp_path, waits) as second:
        until(lambda: first.output == "waits\nwaits\n", "both")
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
        assert first.exit_code == -signal.SIGKILL
        assert second.exit_code is None
        assert second.stop(signal.SIGTERM) == -signal.SIGTERM


def test_one_that_does_not_end_is_said(forker: Forker, tmp_path: Path) -> None:
    waits = "import signal\nsignal.pause()"
    with started(forker, tmp_path, waits) as process, pytest.raises(AssertionError, match="still running"):
        process.wait(0.0)


def test_an_error_is_shown_and_is_the_status(forker: Forker, tmp_path: Path) -> None:
    with started(forker, tmp_path, "raise ValueError('this')") as process:
        assert process.wait() == 1
    assert process.output.endswith("ValueError: this\n")
