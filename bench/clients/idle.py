"""Open connections, each from an address of its own, make one request on each, and keep them open and quiet.

    python -m bench.clients.idle PORT FEW MANY [tls]

It opens the few and prints "few", opens the many when a line comes on standard input and prints "many", and
ends with the next line.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable

from bench.web import connect, get


def opened(port: int, numbers: Iterable[int], tls: bool) -> list[socket.socket]:
    """Open a connection for each number, from the address of that number, and make one request on each."""
    socks = []
    for number in numbers:
        socks.append(connect(port, f"127.1.{number >> 8}.{number & 255}", tls=tls))
        get(socks[-1], "/")
    return socks


def main(port: int, few: int, many: int, *, tls: bool) -> None:
    """Do as asked, step by step."""
    kept = opened(port, range(1, few + 1), tls)
    print("few", flush=True)
    sys.stdin.readline()
    kept += opened(port, range(few + 1, few + many + 1), tls)
    print("many", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:4]), tls=sys.argv[4:] == ["tls"])
