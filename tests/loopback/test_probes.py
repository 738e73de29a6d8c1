"""Every probe against backends on real sockets: good, refusing, hanging, wrong, resetting, endless."""

from __future__ import annotations

import contextlib
import errno
import gzip
import importlib
import os
import shutil
import signal
import socket
import ssl
import stat
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, TestCase

from support.descriptors import no_descriptor_free, open_descriptors, opened_since
from support.names import FixedEngine, OpenEngine, found
from support.peers import peer, unanswering
from support.ports import refusing
from support.probe_peers import Certificate, Server, close, go_deaf, http, repeat, reset, stay
from support.process import children
from support.sockets import until
from support.tls_lines import CLOSE_NOTIFY_IN_THE_CLEAR
from tcpbalance import (
    CommandProbe,
    ExpectProbe,
    HttpProbe,
    Probe,
    ProbeFailed,
    StatusSet,
    Target,
    TcpProbe,
    TlsProbe,
)
from tcpbalance.config.addresses import Address
from tcpbalance.health.probe_run import Outcome, ProbeRun
from tcpbalance.net.resolver.answer import Reply, Verdict
from tcpbalance.net.resolver.resolver import Resolver

SHORT = 0.3
"""Seconds; the timeout of checks that have to run into it."""

AMPLE = 10.0
"""Seconds; the timeout of checks that must not run into it, however busy the machine."""

PASSED = ""

STARTS_ANOTHER = "sleep 600 & echo $! >{file}.new; mv {file}.new {file}; wait"
"""A script that starts a program, tells its number in a file, and waits."""

REACTOR: Any = reactor
"""Every interface that the tests need of it."""


class ProbeTestCase(TestCase):
    """Runs checks as the monitor does, and expects that nothing is left when they have ended."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.resolver = Resolver(reactor)

    def listen(self, factory: IProtocolFactory, interface: str = "127.0.0.1") -> str:
        """Serve on a free port, and give its address."""
        port = REACTOR.listenTCP(0, factory, interface=interface)
        self.addCleanup(port.stopListening)
        return str(Address(host=interface, port=port.getHost().port))

    def listen_unix(self, factory: IProtocolFactory) -> str:
        """Serve on a unix socket, and give its address."""
        path = self.folder / "app.sock"
        self.addCleanup(REACTOR.listenUNIX(str(path), factory).stopListening)
        return f"unix:{path}"

    async def run_of(self, probe: Probe, address: str, timeout: float) -> ProbeRun:
        """Prepare a check, and let the reactor run before it starts.

        A child that ends before that would end its test in the middle of the reactor's start, and leave
        the reactor of the next test without its handler for the end of children.
        """
        await deferLater(REACTOR, 0)
        target = Target(Address.parse(address), "b", timeout, reactor, resolver=self.resolver)
        return ProbeRun(probe, "mine", target)

    async def outcome(self, probe: Probe, address: str, timeout: float = AMPLE) -> Outcome:
        """Check, and see that the probe has closed its connections when it says so, and logged nothing."""
        before = connections_to(address)
        with capturedLogs() as logged:
            run = await self.run_of(probe, address, timeout)
            outcome = await run.start()
            await run.ended.wait()
        self.assertEqual(told(logged), [])
        self.assertEqual(connections_to(address), before)
        return outcome

    async def cause(self, probe: Probe, address: str, timeout: float = AMPLE) -> str:
        """Check, and give the cause of the failure, or `PASSED`."""
        outcome = await self.outcome(probe, address, timeout)
        self.assertIsNone(outcome.trouble)
        self.assertEqual(outcome.passed, not outcome.cause)
        return outcome.cause

    async def cause_at(self, server: Server, probe: Probe, timeout: float = AMPLE) -> str:
        """Check a backend that behaves like `server`, and see that it notices the end."""
        cause = await self.cause(probe, self.listen(server), timeout)
        await until(reactor, lambda: server.ends and not server.open)
        return cause

    async def cancelled(self, probe: Probe, server: Server, wait_for: Any = None) -> None:
        """Cancel a check once it is under way, and see that nothing of it is left."""
        run = await self.run_of(probe, self.listen(server), AMPLE)
        outcome = run.start()
        await until(reactor, wait_for or (lambda: server.open))
        run.cancel()
        self.assertIsNone((await outcome).passed)
        await run.ended.wait()
        await until(reactor, lambda: not server.open)


def connections_to(address: str) -> int:
    """How many connections to an address this process has open, on the client's side."""
    return [peer_of(descriptor) for descriptor in open_descriptors()].count(address)


def peer_of(descriptor: int) -> str:
    """Where a connection leads, as the configuration would say it; empty for what is none."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return ""
    with socket.socket(fileno=os.dup(descriptor)) as sock, contextlib.suppress(OSError):
        name = sock.getpeername()
        return f"unix:{name}" if isinstance(name, str) else str(Address(host=name[0], port=name[1]))
    return ""


def told(logged: Sequence[LogEvent]) -> list[object]:
    """What was logged, without what the servers of the tests say."""
    return [event.get("log_format") or event.get("format") for event in logged]


class Connecting(ProbeTestCase):
    """What all probes that connect have in common, shown by the one that does no more."""

    async def test_passes_where_connections_are_accepted(self) -> None:
        server = Server()
        self.assertEqual(await self.cause_at(server, TcpProbe()), PASSED)
        self.assertEqual(server.ends, ["ConnectionDone"])

    async def test_refused(self) -> None:
        with refusing() as address:
            self.assertEqual(await self.cause(TcpProbe(), address), "refused")

    async def test_no_answer_at_all(self) -> None:
        with unanswering() as address:
            self.assertEqual(await self.cause(TcpProbe(), address, SHORT), "timed out after 0.3 s")

    async def test_ipv6(self) -> None:
        server = Server()
        try:
            address = self.listen(server, "::1")
        except Exception as error:
            raise SkipTest(f"no IPv6: {error}") from error
        self.assertEqual(await self.cause(TcpProbe(), address), PASSED)
        await until(reactor, lambda: server.ends)

    async def test_unix(self) -> None:
        server = Server()
        self.assertEqual(await self.cause(TcpProbe(), self.listen_unix(server)), PASSED)
        await until(reactor, lambda: server.ends)

    async def test_no_unix_socket_there(self) -> None:
        self.assertEqual(await self.cause(TcpProbe(), f"unix:{self.folder}/none"), "no such socket")

    async def test_no_one_listens_on_the_unix_socket(self) -> None:
        path = self.folder / "left.sock"
        with socket.socket(socket.AF_UNIX) as holder:
            holder.bind(str(path))
        self.assertEqual(await self.cause(TcpProbe(), f"unix:{path}"), "refused")

    async def test_a_name(self) -> None:
        server = Server()
        address = self.listen(server).replace("127.0.0.1", "localhost")
        self.assertEqual(await self.cause(TcpProbe(), address), PASSED)
        await until(reactor, lambda: server.ends)

    async def test_a_name_that_no_one_has(self) -> None:
        self.resolver = Resolver(reactor, engine=FixedEngine(Reply.failed(Verdict.NO_SUCH_NAME)))
        outcome = await (await self.run_of(TcpProbe(), "db.example:80", AMPLE)).start()
        self.assertEqual((outcome.passed, outcome.cause), (False, "no such name"))

    async def test_a_name_server_that_fails_says_nothing(self) -> None:
        for verdict in (Verdict.SERVER_FAILURE, Verdict.TIMED_OUT, Verdict.NO_MEMORY):
            self.resolver = Resolver(reactor, engine=FixedEngine(Reply.failed(verdict)))
            for probe in (TcpProbe(), HttpProbe()):
                outcome = await (await self.run_of(probe, "db.example:80", AMPLE)).start()
                self.assertEqual((outcome.passed, outcome.cause), (None, verdict.value))

    async def test_a_name_server_that_is_silent_says_nothing(self) -> None:
        self.resolver = Resolver(reactor, engine=OpenEngine())
        outcome = await (await self.run_of(TcpProbe(), "db.example:80", 0.05)).start()
        self.assertEqual((outcome.passed, outcome.cause), (None, "name server timed out"))

    async def test_a_name_that_cannot_be(self) -> None:
        address = Address(host="-a-.invalid" + "b" * 100, port=80)
        run = ProbeRun(TcpProbe(), "mine", Target(address, "b", AMPLE, reactor, resolver=self.resolver))
        outcome = await run.start()
        self.assertEqual((outcome.passed, outcome.trouble), (False, None))

    async def test_every_name_that_a_dial_reaches(self) -> None:
        server = Server()
        address = self.listen(server)
        port = int(address.rpartition(":")[2])
        self.resolver = Resolver(reactor, engine=FixedEngine(found("127.0.0.1")))
        for name in ("db_1", "db_1.example", "ab--cd.example", "db.example."):
            for probe in (TcpProbe(), HttpProbe()):
                server.answer, server.ends = http(b"fine"), []
                run = await self.run_of(probe, f"{name}:{port}", AMPLE)
                outcome = await run.start()
                self.assertEqual((name, outcome.passed, outcome.cause), (name, True, ""))
                await until(reactor, lambda: server.ends)

    async def test_a_lookup_for_want_of_descriptors_is_no_verdict(self) -> None:
        # A resolver imports what asks name servers with its first question.
        importlib.import_module("tcpbalance.net.resolver.cares")
        probes: list[Probe] = [TcpProbe(), TlsProbe(), HttpProbe(), ExpectProbe("a")]
        for probe in probes:
            self.resolver = Resolver(reactor)
            with capturedLogs() as logged:
                run = await self.run_of(probe, "db.example:9", AMPLE)
                with no_descriptor_free():
                    outcome = await run.start()
            cause = os.strerror(errno.EMFILE).lower()
            self.assertEqual((outcome.passed, outcome.cause), (None, cause))
            self.assertEqual(
                [formatEvent(event) for event in logged],
                [f"db.example: {cause} (no address of it is known)"],
            )

    async def test_a_backend_that_speaks_first_sees_an_orderly_end(self) -> None:
        server = Server(greeting=b"220 mail.example ESMTP\r\n")
        self.assertEqual(await self.cause_at(server, TcpProbe()), PASSED)

    async def test_a_backend_that_never_stops_speaking(self) -> None:
        server = Server(then=repeat(b"blah"))
        self.assertEqual(await self.cause_at(server, TcpProbe()), PASSED)

    async def test_a_backend_that_resets_at_once_still_accepts(self) -> None:
        self.assertEqual(await self.cause_at(Server(then=reset), TcpProbe()), PASSED)

    async def test_a_cancelled_connect_leaves_nothing(self) -> None:
        with unanswering() as address:
            run = await self.run_of(TcpProbe(), address, AMPLE)
            before = open_descriptors()
            outcome = run.start()
            await until(reactor, lambda: opened_since(before))
            run.cancel()
            self.assertIsNone((await outcome).passed)
            self.assertEqual(opened_since(before), {})

    async def test_a_cancelled_lookup_leaves_nothing(self) -> None:
        engine = OpenEngine()
        self.resolver = Resolver(reactor, engine=engine)
        run = await self.run_of(TcpProbe(), "db.example:80", AMPLE)
        outcome = run.start()
        self.assertEqual(engine.asked, ["db.example"])
        run.cancel()
        self.assertIsNone((await outcome).passed)
        self.assertTrue(run.ended.settled)

    async def test_without_the_monitor_it_fails_with_probe_failed(self) -> None:
        with refusing() as address:
            target = Target(Address.parse(address), "b", AMPLE, reactor)
            with self.assertRaises(ProbeFailed) as caught:
                await TcpProbe().check(target)
        self.assertEqual(caught.exception.cause, "refused")

    async def test_want_of_descriptors_is_no_verdict(self) -> None:
        address = self.listen(Server())
        probes: list[Probe] = [TcpProbe(), TlsProbe(), HttpProbe(), ExpectProbe("a"), CommandProbe(("true",))]
        for probe in probes:
            run = await self.run_of(probe, address, AMPLE)
            with no_descriptor_free():
                outcome = await run.start()
            self.assertEqual((outcome.passed, outcome.cause), (None, os.strerror(errno.EMFILE).lower()))


class Tls(ProbeTestCase):
    """The probe that shakes hands."""

    certificate = Certificate.make("b.example")

    def setUp(self) -> None:
        super().setUp()
        self.names: list[bytes | None] = []

    def listen_tls(self, server: Server) -> str:
        return self.listen(self.certificate.tls(server, self.names))

    async def test_passes_when_the_handshake_completes(self) -> None:
        server = Server()
        self.assertEqual(await self.cause(TlsProbe(), self.listen_tls(server)), PASSED)
        await until(reactor, lambda: server.ends)
        self.assertEqual(server.ends, ["ConnectionDone"])

    async def test_a_name_is_sent_as_server_name(self) -> None:
        server = Server()
        address = self.listen_tls(server).replace("127.0.0.1", "localhost")
        self.assertEqual(await self.cause(TlsProbe(), address), PASSED)
        self.assertEqual(self.names, [b"localhost"])
        await until(reactor, lambda: server.ends)

    async def test_an_address_is_not_sent_as_server_name(self) -> None:
        server = Server()
        self.assertEqual(await self.cause(TlsProbe(), self.listen_tls(server)), PASSED)
        self.assertEqual(self.names, [None])
        await until(reactor, lambda: server.ends)

    async def test_a_unix_socket(self) -> None:
        server = Server()
        address = self.listen_unix(self.certificate.tls(server, self.names))
        self.assertEqual(await self.cause(TlsProbe(), address), PASSED)
        await until(reactor, lambda: server.ends)

    async def test_refused(self) -> None:
        with refusing() as address:
            self.assertEqual(await self.cause(TlsProbe(), address), "refused")

    async def test_no_handshake(self) -> None:
        self.assertEqual(await self.cause_at(Server(), TlsProbe(), SHORT), "timed out after 0.3 s")

    async def test_closed_before_the_handshake(self) -> None:
        cause = await self.cause_at(Server(answer=b"", then=close), TlsProbe())
        self.assertIn(cause, ("closed before answering", "reset"))

    async def test_reset_in_the_handshake(self) -> None:
        self.assertEqual(await self.cause_at(Server(answer=b"", then=reset), TlsProbe()), "reset")

    async def test_a_close_notify_in_the_handshake(self) -> None:
        server = Server(answer=CLOSE_NOTIFY_IN_THE_CLEAR)
        self.assertEqual(await self.cause_at(server, TlsProbe()), "reset")

    async def test_plain_text(self) -> None:
        cause = await self.cause_at(Server(greeting=b"220 mail.example ESMTP\r\n"), TlsProbe())
        self.assertEqual(cause, "TLS handshake failed: wrong version number")

    async def test_garbage_without_end(self) -> None:
        cause = await self.cause_at(Server(then=repeat(b"\x16\x03\x01\x00\x04\xff\xff\xff\xff")), TlsProbe())
        self.assertTrue(cause.startswith("TLS handshake failed: "), cause)

    @contextlib.contextmanager
    def staying(self) -> Iterator[tuple[str, threading.Event]]:
        """A backend that shakes hands and then neither reads nor closes, and when it has done so."""
        shaken, over = threading.Event(), threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.write_to(self.folder / "b.pem"))

        def serve(sock: socket.socket) -> None:
            with context.wrap_socket(sock, server_side=True):
                shaken.set()
                over.wait()

        with peer(serve) as backend:
            try:
                yield backend.address, shaken
            finally:
                over.set()

    async def test_a_backend_that_does_not_close_is_cut_off(self) -> None:
        with self.staying() as (address, shaken):
            self.assertEqual(await self.cause(TlsProbe(), address, 2.0), PASSED)
            self.assertTrue(shaken.is_set())

    async def test_a_backend_that_never_stops_speaking_is_cut_off(self) -> None:
        server = Server(then=repeat(b"blah"))
        self.assertEqual(await self.cause(TlsProbe(), self.listen_tls(server), 4.0), PASSED)
        await until(reactor, lambda: server.ends)

    async def test_cancelled_while_it_waits_for_a_backend_to_close(self) -> None:
        with self.staying() as (address, shaken):
            run = await self.run_of(TlsProbe(), address, 1000.0)
            outcome = run.start()
            await until(reactor, shaken.is_set)
            run.cancel()
            self.assertIsNone((await outcome).passed)
            await run.ended.wait()
            self.assertEqual(connections_to(address), 0)

    async def test_cancelled_in_the_handshake(self) -> None:
        await self.cancelled(TlsProbe(), Server())


class Http(ProbeTestCase):
    """The probe that asks for a page."""

    async def asked(self, probe: HttpProbe, server: Server) -> str:
        """The request that the backend got."""
        await self.cause_at(server, probe)
        return b"".join(server.heard).decode()

    async def test_passes_on_a_good_status(self) -> None:
        self.assertEqual(await self.cause_at(Server(answer=http(b"fine")), HttpProbe()), PASSED)

    async def test_a_status_that_was_not_wanted(self) -> None:
        server = Server(answer=http(status="503 Service Unavailable"))
        self.assertEqual(await self.cause_at(server, HttpProbe()), "status 503")

    async def test_the_status_that_was_wanted(self) -> None:
        probe = HttpProbe(status=StatusSet.parse("401,503"))
        self.assertEqual(await self.cause_at(Server(answer=http(status="503 No")), probe), PASSED)
        self.assertEqual(await self.cause_at(Server(answer=http()), probe), "status 200")

    async def test_a_redirect_is_an_answer_and_is_not_followed(self) -> None:
        server = Server(answer=http(status="302 Found", headers=("Location: /elsewhere",)))
        self.assertEqual(await self.cause_at(server, HttpProbe()), PASSED)
        self.assertEqual(len(server.ends), 1)
        self.assertEqual(await self.cause_at(server, HttpProbe(status=StatusSet.parse("200"))), "status 302")

    async def test_what_is_asked_for(self) -> None:
        server = Server(answer=http())
        request = await self.asked(HttpProbe(path="/health?full=1", host="web.internal"), server)
        self.assertTrue(request.startswith("GET /health?full=1 HTTP/1.1\r\n"), request)
        self.assertIn("\r\nHost: web.internal\r\n", request)
        self.assertIn("\r\nConnection: close\r\n", request)
        self.assertEqual(request.lower().count("\r\nhost:"), 1)

    async def test_the_host_is_the_address_unless_told_otherwise(self) -> None:
        server = Server(answer=http())
        address = self.listen(server)
        self.assertEqual(await self.cause(HttpProbe(), address), PASSED)
        self.assertIn(f"\r\nHost: {address}\r\n", b"".join(server.heard).decode())
        await until(reactor, lambda: not server.open)

    async def test_a_unix_socket(self) -> None:
        server = Server(answer=http(b"ok"))
        self.assertEqual(await self.cause(HttpProbe(contains="ok"), self.listen_unix(server)), PASSED)
        self.assertIn(b"\r\nHost: localhost\r\n", b"".join(server.heard))
        await until(reactor, lambda: not server.open)

    async def test_the_body_contains_what_it_has_to(self) -> None:
        server = Server(answer=http(b"all ok."))
        self.assertEqual(await self.cause_at(server, HttpProbe(contains="ok")), PASSED)

    async def test_the_body_lacks_what_it_has_to_contain(self) -> None:
        server = Server(answer=http(b"out of order"))
        cause = await self.cause_at(server, HttpProbe(contains="ok"))
        self.assertEqual(cause, 'no "ok" in the answer, got "out of order"')

    async def test_an_empty_body(self) -> None:
        server = Server(answer=http(status="204 No Content", length=False))
        cause = await self.cause_at(server, HttpProbe(contains="ok"))
        self.assertEqual(cause, 'no "ok" in the answer, got nothing')

    async def test_a_chunked_body(self) -> None:
        body = b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
        chunked = http(body, headers=("Transfer-Encoding: chunked",), length=False)
        self.assertEqual(await self.cause_at(Server(answer=chunked), HttpProbe(contains="ok")), PASSED)

    async def test_a_body_that_ends_with_the_connection(self) -> None:
        server = Server(answer=b"HTTP/1.0 200 OK\r\n\r\nwell, ok", then=close)
        self.assertEqual(await self.cause_at(server, HttpProbe(contains="ok")), PASSED)
        cause = await self.cause_at(server, HttpProbe(contains="no"))
        self.assertEqual(cause, 'no "no" in the answer, got "well, ok"')

    async def test_a_body_is_read_no_further_than_the_limit(self) -> None:
        server = Server(answer=http(b"x" * 100_000 + b"ok"))
        cause = await self.cause_at(server, HttpProbe(contains="ok"))
        self.assertEqual(cause, f'no "ok" in the first 64 KiB, got "{"x" * 60}..."')

    async def test_a_body_without_end_is_read_no_further_than_the_limit(self) -> None:
        server = Server(answer=http(length=False), then=repeat(b"blah"))
        cause = await self.cause_at(server, HttpProbe(contains="ok"))
        self.assertEqual(cause, f'no "ok" in the first 64 KiB, got "{"blah" * 15}..."')

    async def test_a_body_is_not_read_when_it_does_not_matter(self) -> None:
        server = Server(answer=http(length=False), then=repeat(b"blah"))
        self.assertEqual(await self.cause_at(server, HttpProbe()), PASSED)

    async def test_a_body_that_breaks_off(self) -> None:
        promised = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
        cause = await self.cause_at(Server(answer=promised, then=close), HttpProbe(contains="ok"))
        self.assertEqual(cause, "no proper HTTP answer")

    async def test_a_body_that_hangs(self) -> None:
        promised = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
        server = Server(answer=promised)
        cause = await self.cause_at(server, HttpProbe(contains="ok"), SHORT)
        self.assertEqual(cause, 'no "ok" within 0.3 s, got "only this"')

    async def test_a_chunked_body_that_is_broken(self) -> None:
        broken = http(b"zz\r\nok", headers=("Transfer-Encoding: chunked",), length=False)
        cause = await self.cause_at(Server(answer=broken), HttpProbe(contains="fine"))
        self.assertEqual(cause, "no proper HTTP answer")

    async def test_chunks_too_small_to_get_anywhere(self) -> None:
        server = Server(
            answer=http(headers=("Transfer-Encoding: chunked",), length=False),
            then=repeat(b"1;" + b"e" * 1000 + b"\r\nx\r\n"),
        )
        self.assertEqual(await self.cause_at(server, HttpProbe(contains="ok")), "answer longer than 128 KiB")

    async def test_compressed_bodies_are_not_asked_for(self) -> None:
        request = await self.asked(HttpProbe(contains="ok"), Server(answer=http(gzip.compress(b"ok"))))
        self.assertNotIn("accept-encoding", request.lower())

    async def test_refused(self) -> None:
        with refusing() as address:
            self.assertEqual(await self.cause(HttpProbe(), address), "refused")

    async def test_hanging(self) -> None:
        self.assertEqual(await self.cause_at(Server(), HttpProbe(), SHORT), "timed out after 0.3 s")

    async def test_hanging_in_the_head(self) -> None:
        server = Server(answer=b"HTTP/1.1 200 OK\r\nServer: sl")
        self.assertEqual(await self.cause_at(server, HttpProbe(), SHORT), "timed out after 0.3 s")

    async def test_closed(self) -> None:
        cause = await self.cause_at(Server(answer=b"", then=close), HttpProbe())
        self.assertEqual(cause, "closed before answering")

    async def test_closed_in_the_head(self) -> None:
        server = Server(answer=b"HTTP/1.1 200 OK\r\nServer: sl", then=close)
        self.assertEqual(await self.cause_at(server, HttpProbe()), "no proper HTTP answer")

    async def test_reset(self) -> None:
        self.assertEqual(await self.cause_at(Server(answer=b"", then=reset), HttpProbe()), "reset")

    async def test_something_that_is_not_http(self) -> None:
        for said in (b"-ERR unknown\r\n", b"\x00\xff\x00\n\r\n\xfe", b"HTTP/9\r\n", b"HTTP/1.1 ok\r\n\r\n"):
            cause = await self.cause_at(Server(answer=said), HttpProbe())
            self.assertEqual(cause, "no proper HTTP answer", said)

    async def test_heads_that_are_not_http(self) -> None:
        for head in ("no colon", "Content-Length: many", "Transfer-Encoding: unheard-of", " folded: first"):
            server = Server(answer=http(headers=(head,), length=False), then=close)
            self.assertEqual(await self.cause_at(server, HttpProbe()), "no proper HTTP answer", head)

    async def test_a_line_without_end(self) -> None:
        for said in (b"x", b"HTTP/1.1 200 OK\r\nServer: "):
            server = Server(answer=said, then=repeat(b"x"))
            self.assertEqual(await self.cause_at(server, HttpProbe()), "no proper HTTP answer")

    async def test_a_head_without_end(self) -> None:
        server = Server(answer=b"HTTP/1.1 200 OK\r\n", then=repeat(b"X-Blah: blah\r\n"))
        self.assertEqual(await self.cause_at(server, HttpProbe()), "answer longer than 128 KiB")

    async def test_an_answer_before_the_question(self) -> None:
        self.assertEqual(await self.cause_at(Server(greeting=http(b"ok")), HttpProbe(contains="ok")), PASSED)

    async def test_cancelled_while_it_waits_for_the_head(self) -> None:
        server = Server()
        await self.cancelled(HttpProbe(), server, wait_for=lambda: server.heard)

    async def test_cancelled_while_it_waits_for_the_body(self) -> None:
        server = Server(answer=http(length=False))
        await self.cancelled(HttpProbe(contains="ok"), server, wait_for=lambda: server.heard)


class Expect(ProbeTestCase):
    """The probe that speaks and listens."""

    async def test_passes_on_the_right_answer(self) -> None:
        server = Server(answer=b"+PONG\r\n")
        self.assertEqual(await self.cause_at(server, ExpectProbe(send="PING\r\n", contains="PONG")), PASSED)
        self.assertEqual(server.heard, [b"PING\r\n"])
        self.assertEqual(server.ends, ["ConnectionDone"])

    async def test_the_backend_may_speak_first(self) -> None:
        server = Server(greeting=b"220 mail.example ESMTP\r\n")
        self.assertEqual(await self.cause_at(server, ExpectProbe(contains="220 ")), PASSED)

    async def test_the_right_answer_and_the_end_at_once(self) -> None:
        server = Server(answer=b"+PONG\r\n", then=close)
        self.assertEqual(await self.cause_at(server, ExpectProbe(send="PING\r\n", contains="PONG")), PASSED)

    async def test_a_unix_socket(self) -> None:
        server = Server(answer=b"+PONG\r\n")
        cause = await self.cause(ExpectProbe(send="PING\r\n", contains="PONG"), self.listen_unix(server))
        self.assertEqual(cause, PASSED)
        await until(reactor, lambda: not server.open)

    async def test_a_wrong_answer(self) -> None:
        server = Server(answer=b"-LOADING\r\n", then=close)
        cause = await self.cause_at(server, ExpectProbe(send="PING\r\n", contains="PONG"))
        self.assertEqual(cause, 'no "PONG" in the answer, got "-LOADING"')

    async def test_a_wrong_answer_that_may_go_on(self) -> None:
        server = Server(answer=b"-LOADING\r\n", then=stay)
        cause = await self.cause_at(server, ExpectProbe(send="PING\r\n", contains="PONG"), SHORT)
        self.assertEqual(cause, 'no "PONG" within 0.3 s, got "-LOADING"')

    async def test_an_answer_without_end(self) -> None:
        server = Server(then=repeat(b"blah"))
        cause = await self.cause_at(server, ExpectProbe(contains="PONG"))
        self.assertEqual(cause, f'no "PONG" in the first 64 KiB, got "{"blah" * 15}..."')

    async def test_no_answer(self) -> None:
        cause = await self.cause_at(Server(), ExpectProbe("PONG"), SHORT)
        self.assertEqual(cause, 'no "PONG" within 0.3 s, got nothing')

    async def test_closed(self) -> None:
        cause = await self.cause_at(Server(then=close), ExpectProbe("PONG"))
        self.assertEqual(cause, "closed before answering")

    async def test_reset(self) -> None:
        cause = await self.cause_at(Server(answer=b"", then=reset), ExpectProbe("PONG", "PING"))
        self.assertEqual(cause, "reset")

    async def test_refused(self) -> None:
        with refusing() as address:
            self.assertEqual(await self.cause(ExpectProbe("PONG"), address), "refused")

    async def test_cancelled(self) -> None:
        await self.cancelled(ExpectProbe("PONG"), Server())

    async def test_cancelled_with_much_still_to_send(self) -> None:
        server = Server(then=go_deaf)
        run = await self.run_of(ExpectProbe("PONG", send="x" * 50_000_000), self.listen(server), AMPLE)
        outcome = run.start()
        await until(reactor, lambda: server.open)
        run.cancel()
        self.assertIsNone((await outcome).passed)
        await run.ended.wait()
        for talk in server.open:
            talk.transport.resumeProducing()
        await until(reactor, lambda: server.ends)


class Command(ProbeTestCase):
    """The probe that runs a program."""

    address = "10.0.0.1:443"

    def setUp(self) -> None:
        super().setUp()
        self.children = children()

    def sh(self, script: str) -> CommandProbe:
        return CommandProbe(("/bin/sh", "-c", script))

    async def written(self, *argv: str, address: str = "10.0.0.1:443") -> str:
        """What a script finds: its arguments and its environment, in a file."""
        file = self.folder / "found"
        script = f'{{ for a in "$@"; do echo "[$a]"; done; env; }} >{file}'
        self.assertEqual(await self.cause(CommandProbe(("/bin/sh", "-c", script, *argv)), address), PASSED)
        return file.read_text()

    async def test_passes_on_exit_status_0(self) -> None:
        self.assertEqual(await self.cause(CommandProbe(("true",)), self.address), PASSED)

    async def test_another_exit_status(self) -> None:
        self.assertEqual(await self.cause(self.sh("exit 2"), self.address), "exit status 2")

    async def test_killed_by_a_signal(self) -> None:
        self.assertEqual(await self.cause(self.sh("kill -9 $$"), self.address), "killed by signal 9")

    async def test_no_such_command(self) -> None:
        for missing in ("no-such-command", "/no/such/command", "/etc/passwd"):
            cause = await self.cause(CommandProbe((missing, "{host}")), self.address)
            self.assertEqual(cause, f"command not found: {missing}")

    async def test_an_interpreter_that_is_not_there(self) -> None:
        script = self.folder / "check"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        cause = await self.cause(CommandProbe((str(script),)), self.address)
        self.assertRegex(cause or "", "^exit status 127: .*No such file or directory$")

    async def test_its_last_words_are_told(self) -> None:
        script = 'echo "not this" >&2; printf "replica is \\033[31m%s s behind\\n\\n" 700 >&2; exit 2'
        cause = await self.cause(self.sh(script), self.address)
        self.assertEqual(cause, r"exit status 2: replica is \x1b[31m700 s behind")

    async def test_its_last_words_are_told_when_it_is_too_slow(self) -> None:
        cause = await self.cause(
            self.sh("echo waiting for the lock >&2; exec sleep 600"), self.address, SHORT
        )
        self.assertEqual(cause, "timed out after 0.3 s: waiting for the lock")

    async def test_the_last_words_of_one_that_says_a_lot(self) -> None:
        for end in ("no line end", "a line\\n"):
            script = f'head -c 3000000 /dev/zero | tr "\\0" x >&2; printf "\\n{end}" >&2; exit 2'
            cause = await self.cause(self.sh(script), self.address)
            self.assertEqual(cause, f"exit status 2: {end.removesuffix(chr(92) + 'n')}")

    async def test_one_that_left_its_session_does_not_keep_the_check_from_its_end(self) -> None:
        file = self.folder / "pid"
        leaves = f"setsid sh -c 'echo $$ >{file}; exec sleep 600' &"
        waits = f"while ! test -s {file}; do sleep 0.01; done"
        cause = await self.cause(self.sh(f"{leaves} {waits}; echo bye >&2; exit 2"), self.address)
        os.kill(int(file.read_text()), signal.SIGKILL)
        self.assertEqual(cause, "exit status 2: bye")

    async def test_placeholders(self) -> None:
        found = await self.written("-", "{host}:{port}", "{path}", "{name}", "{print}{", "$HOME")
        self.assertEqual(found.splitlines()[:5], ["[10.0.0.1:443]", "[]", "[b]", "[{print}{]", "[$HOME]"])

    async def test_placeholders_for_a_unix_socket(self) -> None:
        found = await self.written("-", "{host}{port}", "{path}", address="unix:/run/app.sock")
        self.assertEqual(found.splitlines()[:2], ["[]", "[/run/app.sock]"])
        self.assertIn("TCPBALANCE_PATH=/run/app.sock\n", found)

    async def test_the_environment_is_small(self) -> None:
        self.patch(os, "environ", {**os.environ, "PASSWORD": "secret"})
        found = await self.written("-")
        self.assertIn("TCPBALANCE_HOST=10.0.0.1\n", found)
        self.assertIn("TCPBALANCE_PORT=443\n", found)
        names = {line.partition("=")[0] for line in found.splitlines()}
        # The last three are the shell's own.
        self.assertLessEqual(names, {"PATH", "TCPBALANCE_HOST", "TCPBALANCE_PORT", "PWD", "SHLVL", "_"})

    async def test_it_has_nothing_to_read_and_its_output_is_discarded(self) -> None:
        probe = self.sh("cat; yes | head -c 1000000; echo no >&2")
        self.assertEqual(await self.cause(probe, self.address), PASSED)

    async def test_it_inherits_no_descriptor(self) -> None:
        file = self.folder / "found"
        self.assertEqual(await self.cause(self.sh(f"ls -l /proc/self/fd >{file}"), self.address), PASSED)
        self.assertNotIn("socket:", file.read_text())

    async def test_too_slow(self) -> None:
        cause = await self.cause(self.sh("exec sleep 600"), self.address, SHORT)
        self.assertEqual(cause, "timed out after 0.3 s")

    async def test_what_it_started_ends_with_it_when_it_is_too_slow(self) -> None:
        await self.kills_what_it_started(f"trap '' TERM HUP; {STARTS_ANOTHER}")

    async def test_what_it_left_running_ends_with_it(self) -> None:
        file = self.folder / "pid"
        probe = self.sh(f"sleep 600 & echo $! >{file}; exit 0")
        self.assertEqual(await self.cause(probe, self.address), PASSED)
        await until(reactor, lambda: not alive(int(file.read_text())))

    async def test_the_same_where_there_is_no_setsid(self) -> None:
        which = shutil.which

        def without_setsid(program: str, path: str | None = None) -> str | None:
            return None if program == "setsid" else which(program, path=path)

        self.patch(shutil, "which", without_setsid)
        self.assertEqual(await self.cause(self.sh("exit 2"), self.address), "exit status 2")
        await self.kills_what_it_started(STARTS_ANOTHER)

    async def kills_what_it_started(self, script: str) -> None:
        file = self.folder / "pid"
        run = await self.run_of(self.sh(script.format(file=file)), self.address, AMPLE)
        outcome = run.start()
        await until(reactor, file.exists)
        run.cancel()
        self.assertIsNone((await outcome).passed)
        await run.ended.wait()
        self.assertEqual(children() - self.children, set())
        await until(reactor, lambda: not alive(int(file.read_text())))

    async def test_cancelled_at_once(self) -> None:
        for _ in range(10):
            run = await self.run_of(self.sh("sleep 600 & wait"), self.address, AMPLE)
            outcome = run.start()
            run.cancel()
            self.assertIsNone((await outcome).passed)
            await run.ended.wait()
            self.assertEqual(children() - self.children, set())

    async def test_many_at_once(self) -> None:
        runs = [await self.run_of(CommandProbe(("true",)), self.address, AMPLE) for _ in range(20)]
        outcomes = [run.start() for run in runs]
        results = [await outcome for outcome in outcomes]
        self.assertEqual([result.passed for result in results], [True] * 20)
        self.assertEqual(children() - self.children, set())


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def coroutines_are_probes(probe: TcpProbe, target: Target) -> Coroutine[Any, Any, None]:
    """A question to the type checker."""
    asked: Probe = probe
    answer = asked.check(target)
    assert isinstance(answer, Coroutine)
    return answer
