"""One end of a bulk transfer in a process of its own: sends and reads at once, and hashes both.

    python bulk.py serve SIZE          accept one connection; the first line printed is the port
    python bulk.py connect SIZE PORT   connect

Both print one JSON object: the hashes of what was sent and of what came, and the number of bytes that came.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading

BLOCK = 1 << 20


def exchange(sock: socket.socket, size: int) -> dict[str, str | int]:
    """Send `size` bytes while reading all there is to read."""
    sent = ""

    def send() -> None:
        nonlocal sent
        sent = send_all(sock, size)

    sender = threading.Thread(target=send)
    sender.start()
    received, count = receive_all(sock)
    sender.join()
    return {"sent": sent, "received": received, "bytes": count}


def send_all(sock: socket.socket, size: int) -> str:
    """Send random blocks, each with its number in it, and finish; returns their hash."""
    hashed = hashlib.sha256()
    block = bytearray(os.urandom(BLOCK))
    for number in range(size // BLOCK):
        block[:8] = number.to_bytes(8, "big")
        hashed.update(block)
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)
    return hashed.hexdigest()


def receive_all(sock: socket.socket) -> tuple[str, int]:
    """Read to the end; returns the hash and the number of bytes."""
    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    count = 0
    while size := sock.recv_into(buffer):
        hashed.update(buffer[:size])
        count += size
    return hashed.hexdigest(), count


def main(role: str, size: int, port: int = 0) -> None:
    """Run one end."""
    if role == "serve":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)  # noqa: T201
            sock, _ = listener.accept()
    else:
        sock = socket.create_connection(("127.0.0.1", port))
    with sock:
        print(json.dumps(exchange(sock, size)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:]))
