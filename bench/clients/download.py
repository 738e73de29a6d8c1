"""Fetch a GiB on each of several connections at once.

    python -m bench.clients.download PORT COUNT [tls]

It prints the bytes that came and the seconds from the first connect to the last byte.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bench.web import connect, get


def fetch(port: int, tls: bool) -> int:
    """Fetch one; returns its size in bytes."""
    with connect(port, tls=tls) as sock:
        return get(sock, "/gib")


def main(port: int, count: int, *, tls: bool) -> None:
    """Fetch `count` at once."""
    with ThreadPoolExecutor(count) as threads:
        start = time.perf_counter()
        size = sum(threads.map(fetch, [port] * count, [tls] * count))
        seconds = time.perf_counter() - start
    print(size, seconds)


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:3]), tls=sys.argv[3:] == ["tls"])
