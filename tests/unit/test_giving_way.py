"""Threads that work for long give the interpreter's lock to the reactor's thread meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from support.process import run
from tcpbalance import threads
from tcpbalance.config_reader import read_config
from tcpbalance.threads import GIVE_WAY_FOR, TAKE_AFTER, WORK_FOR, give_way

PROGRAM = """
import sys
from twisted.internet import reactor
from tcpbalance.daemon import build_or_exit

build_or_exit(reactor, sys.argv[1], {})
print(sys.getswitchinterval())
"""


RELOAD = """
import sys
from twisted.internet import reactor
from tcpbalance.config_reloader import ConfigReloader
from tcpbalance.daemon import build_or_exit

service = build_or_exit(reactor, sys.argv[1], {})
(reloader,) = [part for part in service if isinstance(part, ConfigReloader)]
print(reloader._read(sys.argv[1]).pools["a"] is reloader._balancer.config.pools["a"])
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


def test_the_first_reload_of_a_daemon_reads_only_what_has_changed_since_its_start(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", RELOAD, f"{written(tmp_path, 1)}"]).split() == ["True"]


def test_reading_a_configuration_gives_way_at_each_backend_at_least(tmp_path: Path) -> None:
    rests: list[None] = []
    read_config(written(tmp_path, 200), rest=lambda: rests.append(None))
    assert len(rests) >= 200


@pytest.mark.parametrize(
    ("worked_for", "gives_way"), [(0.0, False), (0.9, False), (1.1, True)], ids=["none", "short", "long"]
)
def test_a_thread_gives_way_once_it_has_worked_for_long_enough(
    monkeypatch: pytest.MonkeyPatch, worked_for: float, gives_way: bool
) -> None:
    clock: Any = Clock()
    slept: list[float] = []
    clock.advance(1000)
    # Of the module alone: other threads of this process sleep, too, and this one may have given way before.
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=clock.seconds, sleep=slept.append))
    monkeypatch.setattr(threads, "_turn", threads._Turn())
    give_way()
    slept.clear()
    clock.advance(worked_for * WORK_FOR)
    give_way()
    assert slept == [GIVE_WAY_FOR] * gives_way
