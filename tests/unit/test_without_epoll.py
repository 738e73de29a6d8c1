"""Where there is no epoll, the package can be imported, and the portable data path serves."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, select
for name in [name for name in dir(select) if name.lower().startswith("epoll")]:
    delattr(select, name)
del os.splice
import tcpbalance
from twisted.internet.selectreactor import SelectReactor
from tcpbalance.net.data_path import choose
chosen = choose("auto", SelectReactor())
print(chosen.name, chosen.reason, sep=": ")
"""


def test_the_portable_data_path_serves() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "portable data path: this system has no epoll\n"
