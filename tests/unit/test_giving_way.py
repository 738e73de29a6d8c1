"""Threads that work for long give the interpreter's lock to the reactor's thread meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.process import run
from tcpbalance.build import read_config
from tcpbalance.config.tables import BACKENDS_A_PIECE
from tcpbalance.threads import TAKE_AFTER

PROGRAM = """
import sys
from twisted.internet import reactor
from tcpbalance.daemon import build_or_exit

build_or_exit(reactor, sys.argv[1], {})
print(sys.getswitchinterval())
"""


def written(folder: Path, backends: int) -> Path:
    addresses = ", ".join(f'"127.0.0.1:{port}"' for port in range(1000, 1000 + backends))
    file = folder / "tcpbalance.toml"
    file.write_text(
        f'[frontends.a]\nlisten = "127.0.0.1:0"\npool = "a"\n[pools.a]\nbackends = [{addresses}]\n'
    )
    return file


def test_a_daemon_has_the_lock_taken_early(tmp_path: Path) -> None:
    file = written(tmp_path, 1)
    (interval,) = run([sys.executable, "-c", PROGRAM, f"{file}"]).split()
    assert float(interval) == pytest.approx(TAKE_AFTER)


@pytest.mark.parametrize("pieces", [0, 1, 20])
def test_reading_a_configuration_gives_way_after_each_piece(tmp_path: Path, pieces: int) -> None:
    rests: list[None] = []
    file = written(tmp_path, max(1, pieces * BACKENDS_A_PIECE))
    read_config(file, rest=lambda: rests.append(None))
    assert len(rests) == pieces
