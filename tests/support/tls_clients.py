"""Clients that speak TLS: openssl, curl, and ones of our own for what those two do not do."""

from __future__ import annotations

import functools
import itertools
import re
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from support.clients import TIMEOUT
from support.daemon import Daemon
from support.process import finish, run
from support.programs import require
from support.waiting import until

REQUEST = b"GET / HTTP/1.0\r\n\r\n"

_numbers = itertools.count(1)


def new_address() -> str:
    """Give an address of this machine that no other client has, so that its record can be found."""
    number = next(_numbers)
    return f"127.1.{number >> 8}.{number & 0xFF}"


def record_of(daemon: Daemon, address: str, key: str = "client") -> dict[str, Any]:
    """Wait for what the access log says about the only connection from an address.

    :param address: with a port, or without where it had no other.
    :param key: where it stands in the record.
    """

    def found() -> list[dict[str, Any]]:
        return [record for record in daemon.access_records if f"{record[key]}:".startswith(f"{address}:")]

    until(found, lambda: f"a record of {address}: {daemon.access_records}")
    (record,) = found()
    return record


def s_client(
    port: int,
    *options: str | Path,
    name: str | None = None,
    source: str = "127.0.0.1",
    say: str = REQUEST.decode(),
    stay: bool = True,
) -> str:
    """Run `openssl s_client`.

    :param name: the server that it asks for.
    :param say: what it sends when the handshake is done.
    :param stay: until the server closes; else it leaves when all is said, and obeys what looks like an order.
    :returns: all that it printed.
    """
    (openssl,) = require("openssl")
    whom = ["-noservername"] if name is None else ["-servername", name]
    where = ["-connect", f"127.0.0.1:{port}", "-bind", f"{source}:0", *(["-ign_eof"] if stay else [])]
    done = finish([openssl, "s_client", *where, *whom, *options], TIMEOUT, input=say)
    return done.stdout + done.stderr


def common_name(output: str) -> str:
    """Give the common name of the certificate that `s_client` was shown."""
    found = re.search(r"^subject=CN ?= ?(\S+)$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


def curl(port: int, name: str, ca: Path, *options: str | Path) -> str:
    """Ask for a page under a name, and believe only what an authority vouches for."""
    (program,) = require("curl")
    trusting = ["--resolve", f"{name}:{port}:127.0.0.1", "--cacert", f"{ca}"]
    return run([program, "-sS", "--max-time", "10", *trusting, *options, f"https://{name}:{port}/"])


def fetch_in_pieces(
    sock: socket.socket, context: ssl.SSLContext, name: str, ahead: bytes, size: int
) -> bytes:
    """Do a handshake and ask for a page, with all that is sent cut into pieces.

    :param ahead: what goes before the handshake, in one piece with its beginning if the size allows.
    :param size: bytes that are sent at once.
    :returns: all that was answered.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)

    def carry(action: Callable[[], object]) -> object:
        """Repeat until there is nothing more to wait for."""
        nonlocal ahead
        while True:
            done, result = False, None
            with suppress(ssl.SSLWantReadError):
                result, done = action(), True
            data, ahead = ahead + outgoing.read(), b""
            for start in range(0, len(data), size):
                sock.sendall(data[start : start + size])
            if done:
                return result
            incoming.write(sock.recv(1 << 16))

    carry(tls.do_handshake)
    carry(lambda: tls.write(REQUEST))
    answer = b""
    # An end without close_notify has no bytes, and the wait for more would be an endless one.
    with suppress(ssl.SSLZeroReturnError):
        while part := carry(lambda: tls.read(1 << 16)):
            assert isinstance(part, bytes)
            answer += part
    return answer


class TlsClient:
    """A client that can finish sending and go on reading, which Python's own ssl module cannot over a socket.

    :param sock: connected; the caller closes it.
    :param ca: whom it believes.
    :param version: of TLS, such as `SSL.TLS1_3_VERSION`.
    """

    def __init__(self, sock: socket.socket, name: str, ca: Path, version: int = SSL.TLS1_3_VERSION) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.load_verify_locations(str(ca))
        context.set_verify(SSL.VERIFY_PEER)
        sock.setblocking(False)
        self._sock = sock
        self._tls = SSL.Connection(context, sock)
        self._tls.set_tlsext_host_name(name.encode())
        self._tls.set_connect_state()
        self._repeat(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            rest = self._repeat(functools.partial(self._send_some, rest))

    def recv(self) -> bytes:
        """Read what there is.

        :raises SSL.ZeroReturnError: the peer has finished, and says so.
        :raises SSL.Error: it broke off.
        """
        data: bytes = self._repeat(lambda: self._tls.recv(1 << 16))
        return data

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        self._tls.shutdown()

    def read_all(self) -> bytes:
        """Read until the peer says that it has finished.

        :raises SSL.Error: it broke off without a word.
        """
        parts = []
        with suppress(SSL.ZeroReturnError):
            while True:
                parts.append(self.recv())
        return b"".join(parts)

    def exchange(self, data: bytes) -> bytes:
        """Send all of it, which is not nothing, and finish, while reading all there is to read."""
        return self._exchange(data, finish_at=0)

    def echoed(self, data: bytes) -> bytes:
        """Send all of it, and finish once as much has come back."""
        return self._exchange(data, finish_at=len(data))

    def _exchange(self, data: bytes, finish_at: int) -> bytes:
        rest, received, finished = memoryview(data), bytearray(), False
        with suppress(SSL.ZeroReturnError):
            while True:
                self._wait(select.POLLIN | (select.POLLOUT if rest else 0))
                with suppress(SSL.WantReadError, SSL.WantWriteError):
                    if rest:
                        rest = self._send_some(rest)
                with suppress(SSL.WantReadError):
                    while True:
                        received += self._tls.recv(1 << 16)
                if not finished and not rest and len(received) >= finish_at:
                    self.finish()
                    finished = True
        return bytes(received)

    def _send_some(self, data: memoryview) -> memoryview:
        """Send what is taken.

        :returns: the rest.
        """
        return data[self._tls.send(data[: 1 << 16]) :]

    def _repeat(self, action: Callable[[], Any]) -> Any:
        while True:
            try:
                return action()
            except SSL.WantReadError:
                self._wait(select.POLLIN)
            except SSL.WantWriteError:
                self._wait(select.POLLOUT)

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._sock, events)
        assert poll.poll(TIMEOUT * 1000), "nothing comes and nothing is taken"
