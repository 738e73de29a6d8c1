"""nsd, a name server for one zone, which can be stopped and started again on the same port."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.names import dns

from support.ports import free_port
from support.process import Process
from support.programs import require
from support.waiting import until

_CONFIG = """
server:
    ip-address: 127.0.0.1@{port}
    database: ""
    zonesdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    username: ""
    chroot: ""
    server-count: 1
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "test"
    zonefile: "test.zone"
"""

_ZONE = """$ORIGIN test.
$TTL {ttl}
@ SOA ns.test. admin.test. {serial} 3600 600 86400 1
@ NS ns.test.
ns A 127.0.0.1
{records}
"""


class Nsd:
    """One nsd with the zone ``test.``

    :param folder: its own.
    :param records: the zone's, one a line.
    :param ttl: of all records, in seconds.
    """

    def __init__(self, folder: Path, records: str, ttl: int) -> None:
        (self._program,) = require("nsd")
        self.port = free_port()
        self._folder = folder
        self._ttl = ttl
        self._serial = 0
        self._process: Process | None = None
        folder.mkdir()
        (folder / "nsd.conf").write_text(_CONFIG.format(port=self.port, folder=folder))
        self._write(records)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [self._program, "-d", "-c", f"{self._folder}/nsd.conf"]
        self._process = Process(command, self._folder, self._folder / "nsd.log")
        self._wait_for_serial()

    def stop(self) -> None:
        """Stop it; whoever asks is told by the kernel that nobody is there."""
        if self._process is not None:
            assert self._process.stop(signal.SIGTERM, 10.0) == 0
            self._process = None

    def end(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            self._process.end()

    def change(self, records: str) -> None:
        """Put other records into the zone, and wait until they are answered."""
        assert self._process is not None
        self._write(records)
        self._process.send(signal.SIGHUP)
        self._wait_for_serial()

    def _write(self, records: str) -> None:
        self._serial += 1
        text = _ZONE.format(ttl=self._ttl, serial=self._serial, records=records)
        (self._folder / "test.zone").write_text(text)

    def _wait_for_serial(self) -> None:
        process = self._process
        assert process is not None

        def ready() -> bool:
            assert process.exit_code is None, f"nsd ended\n{process.output}"
            return self._answered_serial() == self._serial

        until(ready, lambda: f"nsd\n{process.output}")

    def _answered_serial(self) -> int | None:
        question = dns.Message(1)
        question.addQuery("test", dns.SOA)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.2)
            sock.connect(("127.0.0.1", self.port))
            try:
                sock.send(question.toStr())
                reply = dns.Message()
                reply.fromStr(sock.recv(4096))
            except OSError:
                return None
        return next((record.payload.serial for record in reply.answers if record.type == dns.SOA), None)


@contextmanager
def nsd(folder: Path, records: str, ttl: int) -> Iterator[Nsd]:
    """Run one; see `Nsd`."""
    server = Nsd(folder, records, ttl)
    try:
        server.start()
        yield server
    finally:
        server.end()
