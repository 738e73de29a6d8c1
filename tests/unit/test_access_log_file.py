"""The access log's file: how it is opened, what a reader that stalls and a disk that is full do to it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tcpbalance.errors import Fault
from tcpbalance.logs.log_file import AccessLogError, LinesLostError, LogFile


@pytest.fixture
def opened() -> Iterator[Callable[[Path], LogFile]]:
    """Open log files that are closed after the test."""
    files: list[LogFile] = []

    def _open(path: Path) -> LogFile:
        files.append(LogFile(str(path)))
        return files[-1]

    yield _open
    for file in files:
        file.close()


Opener = Callable[[Path], LogFile]


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe and the descriptor that reads it, which does not block."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def fill(path: Path) -> int:
    """Fill a named pipe.

    :returns: how many bytes that took.
    """
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    total = 0
    try:
        while True:
            total += os.write(writer, b"-" * 4096)
    except BlockingIOError:
        return total
    finally:
        os.close(writer)


def read_to(descriptor: int, size: int) -> bytes:
    """Read exactly `size` bytes that are there or about to come."""
    data = b""
    os.set_blocking(descriptor, True)
    while len(data) < size:
        data += os.read(descriptor, size - len(data))
    return data


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_file_has_mode_0640_whatever_the_umask(opened: Opener, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        opened(tmp_path / "access.log")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "access.log").stat().st_mode) == 0o640


def test_a_file_that_is_there_is_appended_to_and_keeps_its_mode(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("old\n")
    path.chmod(0o604)
    opened(path).write(b"new\n")
    assert path.read_text() == "old\nnew\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_folder_that_is_not_there_is_named_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "access.log"
    with pytest.raises(AccessLogError) as caught:
        LogFile(str(path))
    assert str(caught.value) == (
        f"access log {path}: cannot be opened: No such file or directory;"
        " create its folder, or change access_log.path"
    )
    assert caught.value.fault is Fault.CONFIGURATION


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessLogError, match=r"Is a directory; name a file in access_log.path, not a folder"):
        LogFile(str(tmp_path))


def test_a_path_that_no_system_takes_is_refused() -> None:
    with pytest.raises(
        AccessLogError, match=r'null (byte|character in path); name a file that can be written .* "-" for'
    ):
        LogFile("a\0b")


def test_a_named_pipe_that_no_one_reads_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AccessLogError, match="start the reader of this named pipe first"):
        LogFile(str(tmp_path / "pipe"))


def test_opening_anew_goes_on_in_a_new_file(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    file = opened(path)
    file.write(b"one\n")
    path.rename(tmp_path / "access.log.1")
    file.write(b"two\n")
    file.reopen()
    file.write(b"three\n")
    assert (tmp_path / "access.log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_when_it_cannot_be_opened_anew_the_old_file_stays(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    file = opened(path)
    path.rename(tmp_path / "access.log.1")
    path.mkdir()
    with pytest.raises(AccessLogError):
        file.reopen()
    file.write(b"one\n")
    assert (tmp_path / "access.log.1").read_text() == "one\n"


def test_a_deleted_file_is_noticed_and_a_renamed_one_is_not(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    file = opened(path)
    path.rename(tmp_path / "access.log.1")
    assert not file.vanished()
    (tmp_path / "access.log.1").unlink()
    assert file.vanished()


def test_a_full_disk_tells_how_many_lines_were_lost() -> None:
    file = LogFile("/dev/full")
    try:
        with pytest.raises(LinesLostError, match="No space left on device") as caught:
            file.write(b"one\ntwo\nthree\n")
    finally:
        file.close()
    assert caught.value.lines == 3


def test_a_line_cut_short_by_a_full_disk_spoils_only_itself(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.log"
    file = opened(path)
    space = [6]

    def write(descriptor: int, data: bytes, real: Callable[[int, bytes], int] = os.write) -> int:
        if not space[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sent = real(descriptor, data[: space[0]])
        space[0] -= sent
        return sent

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(LinesLostError) as caught:
        file.write(b"one\ntwo\nthree\n")
    space[0] = 100
    file.write(b"four\nfive\n")
    assert caught.value.lines == 2
    assert path.read_text() == "one\ntw\nfour\nfive\n"


def test_a_pipe_gets_whole_lines_in_one_write_each(
    opened: Opener, pipe: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[bytes] = []
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        writes.append(data)
        return real(descriptor, data)

    file = opened(pipe[0])
    line = b"x" * 999 + b"\n"
    monkeypatch.setattr(os, "write", write)
    file.write(line * 10)
    assert [len(data) for data in writes] == [4000, 4000, 2000]
    assert read_to(pipe[1], 10_000) == line * 10


def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole(
    opened: Opener, pipe: tuple[Path, int]
) -> None:
    line = bytes(range(32, 127)) * 100 + b"\n"
    opened(pipe[0]).write(line)
    assert read_to(pipe[1], len(line)) == line


def test_a_stalled_reader_is_waited_for(opened: Opener, pipe: tuple[Path, int]) -> None:
    file = opened(pipe[0])
    filled = fill(pipe[0])
    writer = threading.Thread(target=file.write, args=(b"one\n",))
    writer.start()
    assert read_to(pipe[1], filled + 4)[filled:] == b"one\n"
    writer.join(10)
    assert not writer.is_alive()


def test_a_stalled_reader_can_be_given_up(opened: Opener, pipe: tuple[Path, int]) -> None:
    file = opened(pipe[0])
    fill(pipe[0])
    lost: list[LinesLostError] = []

    def write() -> None:
        with pytest.raises(LinesLostError, match="its reader does not read") as caught:
            file.write(b"one\ntwo\n")
        lost.append(caught.value)

    writer = threading.Thread(target=write)
    writer.start()
    file.give_up()
    writer.join(10)
    assert not writer.is_alive()
    assert lost[0].lines == 2


def test_after_giving_up_nothing_is_written(opened: Opener, tmp_path: Path) -> None:
    file = opened(tmp_path / "access.log")
    file.give_up()
    with pytest.raises(LinesLostError):
        file.write(b"one\n")
    assert (tmp_path / "access.log").read_text() == ""


def test_a_reader_that_went_away_is_told(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = opened(path)
    os.close(reader)
    with pytest.raises(LinesLostError, match="Broken pipe"):
        file.write(b"one\n")
