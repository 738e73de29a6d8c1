"""Fetch one GiB after the other on one connection, and tell how much came between two moments.

    python -m bench.clients.bulk PORT

It prints "flowing" when bytes come, starts to count with a line on standard input, and with the next one
prints "counted", the bytes and the seconds, and ends.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import repeat
from threading import Thread

from bench.errors import Failed
from bench.web import connect, pieces


class Stream:
    """A download without an end.

    :ivar size: the bytes that came so far.
    """

    def __init__(self, port: int) -> None:
        self.size = 0
        self._port = port

    def run(self) -> None:
        """Take bytes; when there are no more, the process ends and says why."""
        try:
            self._take()
        except (OSError, Failed) as error:
            print(error, flush=True)
        os._exit(1)

    def _take(self) -> None:
        with connect(self._port) as sock:
            for path in repeat("/gib"):
                for size in pieces(sock, path):
                    if self.size == 0:
                        print("flowing", flush=True)
                    self.size += size


def main(port: int) -> None:
    """Count what comes from one line to the next."""
    stream = Stream(port)
    Thread(target=stream.run, daemon=True).start()
    sys.stdin.readline()
    size, start = stream.size, time.perf_counter()
    sys.stdin.readline()
    print("counted", stream.size - size, time.perf_counter() - start, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
