"""What a process has used so far, as /proc has it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from bench.errors import Failed

_PROC = Path("/proc")
_LISTEN = "0A"
"""The state of a socket that listens, in /proc/net/tcp."""

_SIZES = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


def cpu(pid: int) -> int:
    """Give the processor time of a process and its children, all their threads together, in nanoseconds.

    :raises Failed: when it is gone.
    """
    return _sum(_cpu, pid)


def cpu_alone(pid: int) -> int:
    """Give the processor time of one process, without its children, in nanoseconds.

    :raises Failed: when it is gone.
    """
    try:
        return _cpu(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise Failed("the process is gone") from None


def memory(pid: int) -> int:
    """Give the resident memory of a process and its children, in bytes.

    :raises Failed: when it is gone.
    """
    return _sum(_resident, pid)


def memory_alone(pid: int) -> tuple[int, int]:
    """Give the resident memory of one process, without its children, and the part that is its own, in bytes.

    :raises Failed: when it is gone.
    """
    try:
        sizes = _sizes(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise Failed("the process is gone") from None
    return sizes["Rss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def _sum(read: Callable[[int], int], pid: int) -> int:
    try:
        return sum(read(process) for process in family(pid))
    except (FileNotFoundError, ProcessLookupError):
        raise Failed("the process is gone") from None


def listens(pid: int, port: int) -> bool:
    """Tell whether a process, or one below it, listens on a port of IPv4."""
    wanted = f":{port:04X}"
    lines = (_PROC / "net" / "tcp").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    listeners = {f"socket:[{it[9]}]" for it in fields if it[1].endswith(wanted) and it[3] == _LISTEN}
    # One that ends meanwhile does not listen.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return any(_has_open(process, listeners) for process in family(pid))
    return False


def _has_open(pid: int, files: Container[str]) -> bool:
    for descriptor in (_PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(descriptor.readlink()) in files:
                return True
    return False


def family(pid: int) -> Iterator[int]:
    """Find a process and all below it."""
    yield pid
    for task in _tasks(pid):
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def _tasks(pid: int) -> list[Path]:
    return list((_PROC / str(pid) / "task").iterdir())


def _cpu(pid: int) -> int:
    return sum(_thread_cpu(task) for task in _tasks(pid))


def _thread_cpu(task: Path) -> int:
    # Three numbers: time on a processor and time waiting for one, both in nanoseconds, and times on one.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int((task / "schedstat").read_text().split()[0])
    return 0  # the thread has ended since it was listed


def _resident(pid: int) -> int:
    return _sizes(pid)["Rss"]


def _sizes(pid: int) -> dict[str, int]:
    text = (_PROC / str(pid) / "smaps_rollup").read_text()
    return {name: int(size) * 1024 for name, size in _SIZES.findall(text)}
