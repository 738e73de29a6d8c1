"""The command ``tcpbalance``, run in this process: a start takes longer than most commands themselves."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

from tcpbalance.cli import main


def command(*words: str | Path) -> CompletedProcess[str]:
    """Run a command to its end, as ``support.process.finish`` runs the script.

    What is about the process itself needs that one: signals, terminals, pipes, and the exit of Python.
    """
    arguments = [str(word) for word in words]
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            status: object = main(arguments)
        except SystemExit as ended:
            status = ended.code
    assert isinstance(status, int), f"{arguments}: {status!r}"
    return CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())
