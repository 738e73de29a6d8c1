"""What /proc says of a process, as the benchmark reads it."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

import os
import subprocess
import sys

from bench.errors import Failed
from bench.usage import memory, memory_alone


def test_memory_of_one_process_and_its_own_part() -> None:
    held = bytearray(b"x" * (8 << 20))
    resident, own = memory_alone(os.getpid())
    assert len(held) < own < resident <= memory(os.getpid())


def test_a_process_that_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(Failed, match="the process is gone"):
        memory_alone(child.pid)
