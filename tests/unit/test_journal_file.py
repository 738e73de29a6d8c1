"""The file of an affinity journal: locked, replaced whole, and kept where it cannot be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tcpbalance.journal.file import JOURNAL_MODE, MAY_GROW, JournalDamagedError, JournalError, JournalFile
from tcpbalance.journal.frames import JOURNAL_HEADER, MAGIC, JournalEnd, Row, decode, encode

A = ("a", "10.0.0.1:80")


def frame(number: int) -> bytes:
    """One client, of this number."""
    return encode(float(number), [(number.to_bytes(4), 0, 1e9)], [A] if number == 0 else None)


def journal(*numbers: int) -> list[bytes]:
    return [JOURNAL_HEADER, *map(frame, numbers)]


def numbers(rows: Sequence[Row]) -> list[int]:
    return [int.from_bytes(client) for client, _, _ in rows]


def content(path: Path) -> list[int]:
    """The clients that the file has."""
    read = decode(path.read_bytes())
    assert read.ending is JournalEnd.COMPLETE
    return [number for found in read.frames for number in numbers(found.rows())]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.affinity"


@pytest.fixture
def file(path: Path) -> Iterator[JournalFile]:
    made = JournalFile(str(path))
    yield made
    made.close()


def is_due(file: JournalFile) -> bool:
    return file.is_due


def opened_numbers(file: JournalFile) -> list[int]:
    return [number for found in file.open().frames for number in numbers(found.rows())]


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Have a call of the system fail from now on."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


def test_a_file_that_is_not_there_is_made_for_this_user_alone(file: JournalFile, path: Path) -> None:
    assert opened_numbers(file) == []
    file.replace(journal(0, 1))
    assert path.stat().st_mode & 0o777 == JOURNAL_MODE
    assert content(path) == [0, 1]
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_what_is_appended_follows(file: JournalFile, path: Path) -> None:
    file.open()
    file.replace(journal(0))
    file.append(frame(1))
    file.append(frame(2))
    assert content(path) == [0, 1, 2]
    file.close()
    assert opened_numbers(file) == [0, 1, 2]


def test_only_one_has_it(file: JournalFile, path: Path) -> None:
    other = JournalFile(str(path))
    file.open()
    with pytest.raises(JournalError, match=r"web.affinity is in use by another process or pool"):
        other.open()
    file.replace(journal(0))
    with pytest.raises(JournalError, match="is in use by another"):
        other.open()
    file.compact(10)
    file.swap()
    with pytest.raises(JournalError, match="is in use by another"):
        other.open()
    file.close()
    assert opened_numbers(other) == [0]
    other.close()


def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    file: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that had the lock has put another file in the place of the one that was opened."""
    path.write_bytes(b"".join(journal(0)))
    real = os.open

    def replaced_at_once(opened: str, *args: Any) -> int:
        descriptor = real(opened, *args)
        monkeypatch.setattr(os, "open", real)
        path.unlink()
        path.write_bytes(b"".join(journal(0, 1)))
        return descriptor

    monkeypatch.setattr(os, "open", replaced_at_once)
    assert opened_numbers(file) == [0, 1]


def test_a_file_that_is_replaced_again_and_again_is_given_up(
    file: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def replaced_at_once(opened: str, *args: Any) -> int:
        descriptor = real(opened, *args)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", replaced_at_once)
    with pytest.raises(JournalError, match="is replaced again and again"):
        file.open()
    assert not file.is_open


@pytest.mark.parametrize(
    "data", [b"[frontends.web]\n", JOURNAL_HEADER[:5], MAGIC + b"2\n" + bytes(90), bytes(500)]
)
def test_a_foreign_file_gets_another_name(file: JournalFile, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    opened = file.open()
    assert opened.frames == ()
    assert opened.kept_as == f"{path}.kept-1"
    file.replace(journal(0))
    assert Path(opened.kept_as).read_bytes() == data
    assert content(path) == [0]


def test_names_of_files_that_were_kept_before_are_not_taken(file: JournalFile, path: Path) -> None:
    for number in range(1, 4):
        path.write_bytes(b"%d" % number)
        assert file.open().kept_as == f"{path}.kept-{number}"
        file.replace(journal(0))
        file.close()
    assert [Path(f"{path}.kept-{number}").read_text() for number in (1, 2, 3)] == ["1", "2", "3"]


def test_a_file_that_was_kept_and_not_replaced_keeps_the_name_that_it_got(
    file: JournalFile, path: Path
) -> None:
    path.write_bytes(b"foreign")
    for _ in range(3):
        assert file.open().kept_as == f"{path}.kept-1"
        file.close()


def test_where_a_foreign_file_can_get_no_name_it_is_not_replaced(
    file: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"foreign")
    refuse(monkeypatch, "link", errno.EPERM)
    with pytest.raises(JournalError, match=r"cannot be opened: Operation not permitted; allow the user"):
        file.open()
    assert not file.is_open
    assert path.read_bytes() == b"foreign"


def test_of_a_damaged_file_what_comes_first_is_read_and_all_is_kept(file: JournalFile, path: Path) -> None:
    data = bytearray(b"".join(journal(0, 1, 2)))
    data[-len(frame(2)) - 1] ^= 1
    path.write_bytes(data)
    opened = file.open()
    assert [number for found in opened.frames for number in numbers(found.rows())] == [0]
    assert opened.ending is JournalEnd.DAMAGED
    assert opened.kept_as is not None
    assert Path(opened.kept_as).read_bytes() == data


def test_cut_anywhere_it_is_read_or_kept(path: Path) -> None:
    whole = b"".join(journal(0, 1, 2))
    ends = [len(b"".join(journal(*range(number)))) for number in range(4)]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        file = JournalFile(str(path))
        opened = file.open()
        read = [number for found in opened.frames for number in numbers(found.rows())]
        assert read == [*range(sum(end <= cut for end in ends) - 1)]
        assert (opened.kept_as is not None) == (0 < cut < len(JOURNAL_HEADER))
        file.replace(journal(7))
        file.close()
        assert content(path) == [7]
        path.unlink()


def test_a_link_stays_a_link(file: JournalFile, path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere" / "real")
    file.open()
    file.replace(journal(0))
    assert path.is_symlink()
    assert content(path) == [0]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/null")
    with pytest.raises(
        JournalError, match=r"not a regular file; name a file|name a file in state_file, not a"
    ):
        JournalFile(str(path)).open()


def test_without_its_folder_it_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot be opened: No such file or directory; create its folder"):
        JournalFile(str(tmp_path / "none" / "x")).open()


def test_what_cannot_be_written_is_read_all_the_same(
    file: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"".join(journal(0, 1)))
    real = os.open

    def read_only(opened: str, flags: int, *args: Any) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(opened, flags, *args)

    monkeypatch.setattr(os, "open", read_only)
    assert opened_numbers(file) == [0, 1]
    with pytest.raises(
        JournalError, match=r"cannot be written: Read-only file system; name a place that can"
    ):
        file.replace(journal(5))
    assert file.is_open
    assert content(path) == [0, 1]


class FullDisk:
    """A disk with space for so many more bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 10**9
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: Any) -> int:
        if not self.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, data[: self.free])
        self.free -= written
        return written


def test_on_a_full_disk_the_file_stays_as_it_was(
    file: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    file.open()
    file.replace(journal(0, 1))
    disk.free = 10
    with pytest.raises(JournalError, match=r"cannot be written: No space left on device; free space on its"):
        file.append(frame(2))
    disk.free = 10
    with pytest.raises(JournalError, match="No space left"):
        file.replace(journal(0, 1, 2))
    assert content(path) == [0, 1]
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    disk.free = 10**9
    file.append(frame(3))
    assert content(path) == [0, 1, 3]


def test_a_full_disk_does_not_stop_appending_when_there_is_no_space_to_compact(
    file: JournalFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    file.open()
    file.replace(journal(0, 1))
    disk.free = 10
    with pytest.raises(JournalError, match="cannot be compacted: No space left"):
        file.compact(10)
    disk.free = 10**9
    file.append(frame(2))
    file.compact(10)
    file.append(frame(3))
    disk.free = 10
    with pytest.raises(JournalError, match="cannot be compacted: No space left"):
        file.swap()
    disk.free = 10**9
    file.append(frame(4))
    assert content(path) == [0, 1, 2, 3, 4]
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("put_in_its_place", [b"", b"another"])
def test_a_file_that_was_deleted_or_replaced_has_to_be_opened_again(
    file: JournalFile, path: Path, put_in_its_place: bytes
) -> None:
    file.open()
    file.replace(journal(0))
    for call in (lambda: file.append(frame(1)), lambda: file.replace(journal(0, 1))):
        path.unlink()
        if put_in_its_place:
            path.write_bytes(put_in_its_place)
        with pytest.raises(JournalError, match=r"web.affinity was deleted or replaced"):
            call()
        assert not file.is_open
        assert not put_in_its_place or path.read_bytes() == put_in_its_place
        file.open()
        file.replace(journal(5))
        assert content(path) == [5]


def test_a_file_is_to_be_compacted_when_it_has_grown(file: JournalFile, path: Path) -> None:
    file.open()
    file.replace(journal(0))
    assert not is_due(file)
    while not is_due(file):
        file.append(frame(1))
    assert MAY_GROW <= path.stat().st_size < MAY_GROW + 200
    file.compact(10)
    file.append(frame(2))
    file.swap()
    assert content(path) == [0, 1, 2]
    assert not is_due(file)


def test_a_large_file_may_grow_to_four_times_its_size(file: JournalFile, path: Path) -> None:
    file.open()
    large = [JOURNAL_HEADER, *[frame(0)] * 10_000]
    file.replace(large)
    size = path.stat().st_size
    file.append(bytes(3 * size - 1))
    assert not is_due(file)
    file.append(bytes(1))
    assert is_due(file)


def test_what_others_have_written_into_it_is_found_when_it_is_compacted(
    file: JournalFile, path: Path
) -> None:
    file.open()
    file.replace(journal(0, 1))
    with path.open("r+b") as other:
        other.seek(-3, os.SEEK_END)
        other.write(b"!")
    with pytest.raises(JournalDamagedError, match="was changed by others: a frame does not match"):
        file.compact(10)


def test_what_is_left_of_a_process_that_was_killed_does_no_harm(file: JournalFile, path: Path) -> None:
    path.with_name("web.affinity.new").write_bytes(b"left")
    file.open()
    file.replace(journal(0))
    file.compact(10)
    file.close()
    assert content(path) == [0]
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_compact_file_that_is_not_used_is_discarded(file: JournalFile, path: Path) -> None:
    file.open()
    file.replace(journal(0))
    file.compact(10)
    file.replace(journal(0, 1))
    assert content(path) == [0, 1]
    assert [found.name for found in path.parent.iterdir()] == [path.name]
