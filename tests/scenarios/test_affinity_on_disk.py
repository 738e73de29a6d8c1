"""Affinity in a file survives whatever ends the process, and whatever happens to the file costs no client."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from math import inf
from pathlib import Path
from socket import inet_aton

import pytest

from support import peers
from support.clients import ask, connect
from support.daemon import Daemon
from support.peers import Peer
from support.process import Process, has_ended, run
from support.programs import require
from support.waiting import until
from support.wall_clock import WallClock
from tcpbalance.journal.frames import FRAME_CLIENTS, JOURNAL_HEADER, decode, encode
from tcpbalance.workers.shared_counts import can_count

CONFIG = """
workers = {workers}

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
balance = "random"
backends = [{backends}]

[pools.web.affinity]
state_file = "{file}"
"""

NEEDS_COUNTS = pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")

SOURCES = [f"127.{number % 200 + 1}.{number % 13}.{number % 251 + 1}" for number in range(60)]


def config(running: Sequence[Peer], file: str | Path = "web.affinity", workers: int = 1) -> str:
    backends = ", ".join(
        f'{{ name = "{name}", address = "{peer.address}" }}'
        for name, peer in zip("abcdefgh", running, strict=False)
    )
    return CONFIG.format(backends=backends, file=file, workers=workers)


def ask_all(daemon: Daemon, sources: Sequence[str] = SOURCES) -> dict[str, bytes]:
    return {source: ask(daemon.port, source=source) for source in sources}


def clients_in(file: Path) -> set[bytes]:
    """The clients of whom something is written."""
    return {client for frame in decode(file.read_bytes()).frames for client in frame.clients()}


def wait_until_written(file: Path, sources: Sequence[str] = SOURCES) -> None:
    wanted = {inet_aton(source) for source in sources}
    until(lambda: wanted <= clients_in(file), "all clients in the file", 10)


@contextmanager
def three() -> Iterator[list[Peer]]:
    with peers.named(*"abc") as running:
        yield running


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=NEEDS_COUNTS)])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_clients_stay_at_their_backends_whatever_ends_the_process(
    tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    file = tmp_path / "web.affinity"
    with three() as running, Daemon(config(running, workers=workers), tmp_path) as daemon:
        before = ask_all(daemon)
        if number is signal.SIGKILL:
            wait_until_written(file)
        daemon.stop(number)
        for _ in range(2):
            daemon.start()
            assert ask_all(daemon) == before
            daemon.stop(signal.SIGKILL)
    assert set(before.values()) == {b"a", b"b", b"c"}
    assert file.stat().st_mode & 0o077 == 0
    assert sorted(found.name for found in tmp_path.glob("web.affinity*")) == ["web.affinity"]


def test_clients_that_are_connected_when_the_process_is_killed_come_back(tmp_path: Path) -> None:
    file = tmp_path / "web.affinity"
    with (
        peers.peer(peers.holds(b"a")) as a,
        peers.peer(peers.holds(b"b")) as b,
        Daemon(config([a, b]), tmp_path) as daemon,
    ):
        before = hold_all(daemon, lambda: wait_until_written(file, SOURCES[:20]))
        daemon.stop(signal.SIGKILL)
        daemon.start()
        assert hold_all(daemon) == before
    assert set(before.values()) == {b"a", b"b"}


def hold_all(daemon: Daemon, meanwhile: Callable[[], None] = lambda: None) -> dict[str, bytes]:
    """Have some clients connected at the same time.

    :returns: the names of their backends.
    """
    with ExitStack() as stack:
        clients = {source: stack.enter_context(connect(daemon.port, source)) for source in SOURCES[:20]}
        found = {source: client.recv(1) for source, client in clients.items()}
        meanwhile()
    return found


@pytest.mark.timeout(180)
def test_a_hundred_thousand_entries_are_there_after_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "web.affinity"
    with three() as running:
        keys = [(name, str(peer.address)) for name, peer in zip("abc", running, strict=True)]
        others = [(number.to_bytes(4), number % 3, inf) for number in range(100_000 - len(SOURCES))]
        ours = [(inet_aton(source), index % 3, inf) for index, source in enumerate(SOURCES)]
        rows = others + ours
        file.write_bytes(
            b"".join(
                [
                    JOURNAL_HEADER,
                    encode(0.0, (), keys),
                    *(
                        encode(0.0, rows[at : at + FRAME_CLIENTS])
                        for at in range(0, len(rows), FRAME_CLIENTS)
                    ),
                ]
            )
        )
        expected = {source: b"abc"[index % 3 : index % 3 + 1] for index, source in enumerate(SOURCES)}
        with Daemon(config(running), tmp_path) as daemon:
            for _ in range(2):
                daemon.wait_for_log("affinity of 100000 clients restored")
                assert ask_all(daemon) == expected
                until(lambda: len(clients_in(file)) == 100_000, "the whole table in the file")
                daemon.stop(signal.SIGKILL)
                daemon.start()
            # They are restored before the first client is accepted.
            log = daemon.log
            assert log.index("clients restored") < log.index("frontend web listens on")


@pytest.mark.requires("faketime")
def test_a_wall_clock_that_jumps_costs_no_entry_and_keeps_none(tmp_path: Path) -> None:
    file = tmp_path / "web.affinity"
    clock = WallClock(tmp_path)
    with three() as running, Daemon(config(running), tmp_path, environment=clock.environment) as daemon:
        before = ask_all(daemon)
        for step in (timedelta(days=365), timedelta(days=-700)):
            clock.step(step)
            assert ask_all(daemon) == before
            wait_until_written(file)
            daemon.stop(signal.SIGKILL)
            daemon.start()
            assert ask_all(daemon) == before


def test_entries_of_backends_that_are_gone_are_dropped(tmp_path: Path) -> None:
    with three() as running, peers.named("d") as (fourth,):
        with Daemon(config(running), tmp_path) as daemon:
            before = ask_all(daemon)
            daemon.stop()
        # The name stays, and the address is another: that is another backend.
        with Daemon(config([running[0], running[1], fourth]), tmp_path) as daemon:
            after = ask_all(daemon)
    assert {s: name for s, name in after.items() if before[s] != b"c"} == {
        s: name for s, name in before.items() if name != b"c"
    }
    assert {name for s, name in after.items() if before[s] == b"c"} == {b"a", b"b", b"d"}


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda data: b"foreign", "not an affinity journal; it is kept as .*web.affinity.kept-1, and a new"),
        (lambda data: data[:20], "not an affinity journal; it is kept as .*web.affinity.kept-1, and a new"),
        (lambda data: data[:-9], "its last frame is incomplete, as after a crash; all before it is used"),
        (lambda data: data[:-9] + bytes(9), "a frame does not match its checksum; it is kept as .*kept-1"),
    ],
)
def test_a_spoilt_file_is_read_as_far_as_it_goes_or_kept(
    tmp_path: Path, spoil: Callable[[bytes], bytes], line: str
) -> None:
    file = tmp_path / "web.affinity"
    with three() as running, Daemon(config(running), tmp_path) as daemon:
        ask_all(daemon)
        daemon.stop()
        spoilt = spoil(file.read_bytes())
        file.write_bytes(spoilt)
        daemon.start()
        daemon.wait_for_log(line)
        before = ask_all(daemon)
        daemon.stop()
        daemon.start()
        assert ask_all(daemon) == before
    kept = Path(f"{file}.kept-1")
    assert not kept.exists() or kept.read_bytes() == spoilt
    assert kept.exists() == ("kept-1" in line)


def test_the_file_of_another_process_is_left_alone_and_taken_over_in_the_end(tmp_path: Path) -> None:
    file = tmp_path / "web.affinity"
    (tmp_path / "new").mkdir()
    with three() as running, Daemon(config(running), tmp_path) as old:
        before = ask_all(old)
        wait_until_written(file)
        with Daemon(config(running, file), tmp_path / "new") as new:
            new.wait_for_log("affinity is in memory only: .* is in use by another process")
            assert ask(new.port) in {b"a", b"b", b"c"}
            old.stop()
            new.wait_for_log(f"affinity of {len(SOURCES)} clients restored")
            new.wait_for_log("affinity is kept in .* again")
            assert ask_all(new) == before


def test_a_process_that_takes_over_at_sigusr2_has_the_entries_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Daemon, "forker", None)
    with three() as running, Daemon(config(running), tmp_path) as daemon:
        before = ask_all(daemon)
        daemon.send(signal.SIGUSR2)
        new = int(daemon.wait_for_log(r"process (\d+) has taken over")[1])
        try:
            daemon.wait_for_log(f"affinity of {len(SOURCES)} clients restored")
            assert daemon.wait() == 0
            assert ask_all(daemon) == before
        finally:
            os.kill(new, signal.SIGTERM)
            until(lambda: has_ended(new), "the end of the new process")


class OnSmallDisk(Daemon):
    """A balancer with a disk of its own of 64 KiB, in the folder ``disk``."""

    mount_options = "size=64k"

    def launch(self) -> Process:
        (unshare,) = require("unshare")
        mount = f"mount -t tmpfs -o {self.mount_options} tmpfs disk"
        command = [unshare, "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *self.command]
        self._process = Process(command, self.folder, self._log_file)
        return self._process

    @property
    def disk(self) -> Path:
        """The disk, as we see it."""
        return Path(f"/proc/{self.process.pid}/root{self.folder}/disk")


class OnReadOnlyDisk(OnSmallDisk):
    mount_options = "size=64k,ro"

    def make_writable(self) -> None:
        (nsenter,) = require("nsenter")
        mount = ["mount", "-o", "remount,rw", f"{self.folder}/disk"]
        run([nsenter, f"--mount=/proc/{self.process.pid}/ns/mnt", *mount])


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass


@pytest.mark.requires("unshare")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_while_the_disk_is_full_traffic_goes_on(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with three() as running, OnSmallDisk(config(running, "disk/web.affinity"), tmp_path) as daemon:
        file = daemon.disk / "web.affinity"
        before = ask_all(daemon, SOURCES[:20])
        wait_until_written(file, SOURCES[:20])
        fill(daemon.disk / "filler")
        before |= ask_all(daemon, SOURCES[20:])
        full = "affinity is in memory only: .*No space left on device; free space on its disk"
        until(lambda: ask_all(daemon) == before and re.search(full, daemon.log), "a full disk")
        (daemon.disk / "filler").unlink()
        daemon.wait_for_log("affinity is kept in .* again", 30)
        wait_until_written(file)
        assert ask_all(daemon) == before


@pytest.mark.requires("unshare", "nsenter")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a disk that is read-only")
def test_while_the_disk_is_read_only_traffic_goes_on(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with three() as running, OnReadOnlyDisk(config(running, "disk/web.affinity"), tmp_path) as daemon:
        daemon.wait_for_log("affinity is in memory only: .*Read-only file system; name a place that can be")
        before = ask_all(daemon)
        assert ask_all(daemon) == before
        daemon.make_writable()
        daemon.wait_for_log("affinity is kept in .* again", 30)
        wait_until_written(daemon.disk / "web.affinity")
        assert ask_all(daemon) == before
