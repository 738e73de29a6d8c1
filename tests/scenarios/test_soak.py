"""A soak of a few seconds: it makes faults, and finds nothing wrong."""

from __future__ import annotations

import re
import sys

import pytest

from support.documented import TREE
from support.process import run
from tcpbalance.workers.shared_counts import can_count

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")
@pytest.mark.timeout(120)
def test_a_short_soak_finds_no_mistake() -> None:
    command = [sys.executable, "-m", "bench.soak", "--seconds", "5", "--seed", "4", "--clients", "8"]
    output = run(command, 110, cwd=TREE)
    assert output.splitlines()[0] == "seed 4, 5 s, 3 workers"
    assert output.splitlines()[-1] == "no mistakes"
    found = re.search(r"whole: (\d+)", output)
    assert found is not None
    assert int(found[1]) > 10
