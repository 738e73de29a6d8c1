"""Send a GiB as the body of a request.

    python -m bench.clients.upload PORT

It prints the bytes that were sent and the seconds from the connect to the answer.
"""

from __future__ import annotations

import os
import sys
import time

from bench.web import HOST, connect, read_answer

GIB = 1 << 30


def main(port: int) -> None:
    """Send it."""
    file = os.memfd_create("gib")
    os.ftruncate(file, GIB)
    start = time.perf_counter()
    with connect(port) as sock, open(file, "rb") as body:
        sock.sendall(f"POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {GIB}\r\n\r\n".encode())
        sent = sock.sendfile(body)
        read_answer(sock)
    print(sent, time.perf_counter() - start)


if __name__ == "__main__":
    main(int(sys.argv[1]))
