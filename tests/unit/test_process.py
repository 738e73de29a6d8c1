"""A program that a test starts is in the state that one of a terminal is in."""

from __future__ import annotations

import signal
from pathlib import Path

from support.process import Process

INTERRUPTS_ITSELF = "kill -INT $$; echo went on"


def test_sigint_ends_it_although_a_shell_has_put_the_test_run_into_the_background(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = Process(["sh", "-c", INTERRUPTS_ITSELF], tmp_path, tmp_path / "output")
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.wait() == -signal.SIGINT
        assert process.output == ""
