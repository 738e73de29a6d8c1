"""Connections to every kind of address; each failure is told in its word, once, in a later turn."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from support.clients import reset
from support.data_paths import DataPathCase
from support.names import FixedEngine, OpenEngine, found
from support.peers import unanswering
from support.sockets import Recorder, until
from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.config.quantities import Duration, Size
from tcpbalance.errors import Fault
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.net.resolver.answer import Reply, Verdict
from tcpbalance.net.resolver.resolver import Engine, Resolver
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.wheel import Wheel

reactor: Any = global_reactor


class Speaker(Protocol):
    """Speaks first, and finishes at once."""

    def connectionMade(self) -> None:
        self.transport.write(b"welcome")
        self.transport.loseConnection()


class Server(Protocol):
    """Closes when the client does, and says that it has."""

    ended = 0

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        Server.ended += 1


class Outcome:
    """A factory that keeps what came of the attempt."""

    def __init__(self) -> None:
        self.protocol: Recorder | None = None
        self.failures: list[ConnectFailed] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        self.protocol = Recorder()
        return self.protocol

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.failures.append(cast(ConnectFailed, reason.value))


class ConnectingTests(DataPathCase):
    """``SocketConnector`` against listeners of the stock reactor, and against none."""

    def connect(
        self,
        address: str | Address,
        timeout: float = 5.0,
        config: SocketConfig | None = None,
        engine: Engine | None = None,
    ) -> Outcome:
        self.outcome = Outcome()
        where = address if isinstance(address, Address) else Address.parse(address)
        self.pending = self.connector(config, engine).connect(where, self.outcome, timeout)
        assert self.outcome.protocol is None
        assert self.outcome.failures == []
        return self.outcome

    def connector(self, config: SocketConfig | None = None, engine: Engine | None = None) -> SocketConnector:
        options = SocketOptions.of(config or SocketConfig())
        return SocketConnector(reactor, options, self.data_path, Resolver(reactor, engine=engine))

    def note_sockets(self) -> list[Any]:
        """Give a list that gets every socket which is about to connect."""
        dialled: list[Any] = []
        prepare = SocketOptions.prepare_dial

        def note(options: SocketOptions, sock: Any, family: int) -> None:
            dialled.append(sock)
            prepare(options, sock, family)

        self.patch(SocketOptions, "prepare_dial", note)
        return dialled

    async def answers(self, outcome: Outcome) -> Recorder:
        await until(reactor, lambda: outcome.protocol or outcome.failures)
        assert outcome.protocol is not None, outcome.failures
        ended, protocol = Server.ended, outcome.protocol
        protocol.transport.loseConnection()
        await until(reactor, lambda: protocol.lost and Server.ended > ended)
        return protocol

    async def cause(self, outcome: Outcome) -> str:
        await until(reactor, lambda: outcome.protocol or outcome.failures)
        assert outcome.protocol is None
        (failure,) = outcome.failures
        return failure.cause

    def listen(self, interface: str, protocol: type[Protocol] = Server) -> int:
        self.port = reactor.listenTCP(0, Factory.forProtocol(protocol), interface=interface)
        self.addCleanup(self.port.stopListening)
        return int(self.port.getHost().port)

    async def test_ipv4(self) -> None:
        number = self.listen("127.0.0.1")
        protocol = await self.answers(self.connect(f"127.0.0.1:{number}"))
        assert (protocol.connected_to.host, protocol.connected_to.port) == ("127.0.0.1", number)

    async def test_ipv6(self) -> None:
        protocol = await self.answers(self.connect(f"[::1]:{self.listen('::1')}"))
        assert protocol.connected_to.host == "::1"

    async def test_name(self) -> None:
        await self.answers(self.connect(f"localhost:{self.listen('127.0.0.1')}"))

    async def test_unix(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = str(Path(folder) / "socket")
        port = reactor.listenUNIX(path, Factory.forProtocol(Server))
        self.addCleanup(port.stopListening)
        await self.answers(self.connect(f"unix:{path}"))

    async def test_options_are_set_before_connecting(self) -> None:
        config = SocketConfig(max_segment=Size(1000), keepalive=Duration(60))
        outcome = self.connect(f"127.0.0.1:{self.listen('127.0.0.1')}", config=config)
        await until(reactor, lambda: outcome.protocol)
        sock = outcome.protocol.transport.socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        await self.answers(outcome)

    async def test_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            number = listener.getsockname()[1]
        assert await self.cause(self.connect(f"127.0.0.1:{number}")) == "refused"

    async def test_a_connection_that_stands_when_a_late_loop_looks_is_in_time(self) -> None:
        """The deadline is dealt with before the socket, in the turn after one that took too long."""
        outcome = self.connect(f"127.0.0.1:{self.listen('127.0.0.1')}")
        cast(Any, self.pending).check(monotonic())
        await self.answers(outcome)

    async def test_no_such_socket(self) -> None:
        assert await self.cause(self.connect("unix:/nonexistent/socket")) == "no such socket"

    async def test_a_path_that_is_too_long(self) -> None:
        assert await self.cause(self.connect(Address(path="/" + "a" * 200))) == "AF_UNIX path too long"

    async def test_a_connection_to_itself_is_none(self) -> None:
        for host, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as nobody:
                nobody.bind((host, 0))
                ours = nobody.getsockname()
            # What the kernel does by chance when it chooses a port for our end.
            self.patch(SocketOptions, "prepare_dial", lambda _, sock, __, ours=ours: sock.bind(ours))
            assert await self.cause(self.connect(f"{shown}:{ours[1]}")) == "refused"
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as backend:
                # Its port is free at once.
                backend.bind(ours)

    async def test_refused_option(self) -> None:
        outcome = self.connect("127.0.0.1:9", config=SocketConfig(congestion="nonesuch"))
        assert (await self.cause(outcome)).startswith(
            "socket.congestion: the system has no congestion control nonesuch"
        )

    async def assert_an_exception_ends_it(self, address: str, at_socket: int, check: bool = False) -> None:
        """What raises in the attempt's own work on a socket ends it at once, wherever it is called from.

        :param at_socket: which of the attempt's sockets, counted from 1.
        :param check: whether that is tried next because the wheel says that the time of the first is over.
        """
        prepared: list[Any] = []

        def prepare(_: SocketOptions, sock: Any, family: int) -> None:
            prepared.append(sock)
            if len(prepared) == at_socket:
                raise ZeroDivisionError

        self.patch(SocketOptions, "prepare_dial", prepare)
        outcome = self.connect(address, 600.0, engine=FixedEngine(found("127.0.0.1", "127.0.0.2")))
        if check:
            cast(Any, self.pending).check(monotonic())
        assert await self.cause(outcome) == "internal error"
        assert outcome.failures[0].fault is Fault.BALANCER
        assert cast(Any, self.pending).slot is None
        assert [sock.fileno() for sock in prepared] == [-1] * at_socket
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_an_exception_at_the_only_address(self) -> None:
        await self.assert_an_exception_ends_it("127.0.0.1:9", 1)

    async def test_an_exception_at_the_first_address_of_a_name(self) -> None:
        await self.assert_an_exception_ends_it("db.example:9", 1)

    async def test_an_exception_at_the_second_after_a_refusal(self) -> None:
        await self.assert_an_exception_ends_it("db.example:9", 2)

    async def test_an_exception_at_the_second_when_the_time_of_the_first_is_over(self) -> None:
        with unanswering() as hanging:
            await self.assert_an_exception_ends_it(f"db.example:{hanging.rpartition(':')[2]}", 2, check=True)

    async def test_name_not_found(self) -> None:
        for verdict, fault in (
            (Verdict.NO_SUCH_NAME, Fault.BACKEND),
            (Verdict.SERVER_FAILURE, Fault.BALANCER),
            (Verdict.NO_DESCRIPTOR, Fault.BALANCER),
        ):
            outcome = self.connect("db.example:80", engine=FixedEngine(Reply.failed(verdict)))
            assert await self.cause(outcome) == verdict.value
            assert outcome.failures[0].fault is fault
            assert outcome.failures[0].out_of_descriptors is (verdict is Verdict.NO_DESCRIPTOR)

    async def test_a_name_server_that_takes_all_of_the_time(self) -> None:
        outcome = self.connect("db.example:80", 0.1, engine=OpenEngine())
        assert await self.cause(outcome) == "name server timed out"
        assert outcome.failures[0].fault is Fault.BALANCER

    async def test_a_dial_that_has_ended_waits_for_no_name(self) -> None:
        """Else a slow name server would keep the memory of clients that have left."""
        connector = self.connector(engine=OpenEngine())
        assert connector._resolver is not None
        waiting = connector._resolver.resolution("db.example")._waiting
        cancelled, late = Outcome(), Outcome()
        connector.connect(Address.parse("db.example:80"), cancelled, 5.0).cancel()
        assert len(waiting) == 0
        connector.connect(Address.parse("db.example:80"), late, 0.05)
        assert len(waiting) == 1
        assert await self.cause(late) == "name server timed out"
        assert (len(waiting), cancelled.failures) == (0, [])

    async def test_no_such_zone(self) -> None:
        outcome = self.connect("[fe80::1%nosuch0]:80")
        assert await self.cause(outcome) == "no such network interface"
        assert outcome.failures[0].fault is Fault.BALANCER

    async def test_a_name_of_which_one_address_hangs(self) -> None:
        """Its part of the time is spent once: further dials begin at the other address."""
        clock = Clock()
        # One family after the other, so that the dial begins at the address that hangs.
        connector = self.connector(engine=FixedEngine(found("127.0.0.1", "::1")))
        connector.clock = clock.seconds
        connector.wheel = Wheel(clock, clock.seconds, 0.02)
        dialled = self.note_sockets()
        with unanswering() as hanging:
            number = int(hanging.rpartition(":")[2])
            port = reactor.listenTCP(number, Factory.forProtocol(Server), interface="::1")
            self.addCleanup(port.stopListening)
            first = Outcome()
            connector.connect(Address.parse(f"db.example:{number}"), first, 8.0)
            clock.pump([0.1] * 39)
            assert len(dialled) == 1
            clock.pump([0.1] * 2)
            assert len(dialled) == 2
            await self.answers(first)
            for _ in range(5):
                later = Outcome()
                connector.connect(Address.parse(f"db.example:{number}"), later, 8.0)
                await self.answers(later)
            assert len(dialled) == 7

    async def test_a_name_of_which_all_of_many_addresses_hang(self) -> None:
        """Each that is tried gets an eighth of the time, so that one far away could answer."""
        clock = Clock()
        connector = self.connector(engine=FixedEngine(found(*(f"127.0.1.{n}" for n in range(1, 201)))))
        connector.clock = clock.seconds
        connector.wheel = Wheel(clock, clock.seconds, 0.02)
        dialled = self.note_sockets()
        with unanswering("0.0.0.0") as hanging:
            address = Address.parse(f"db.example:{hanging.rpartition(':')[2]}")
            outcome = Outcome()
            connector.connect(address, outcome, 8.0)
            for seconds in range(8):
                assert len(dialled) == seconds + 1
                clock.pump([0.05] * 21)
            assert await self.cause(outcome) == "timed out after 8 s"
            assert len(dialled) == 8

    async def test_dials_that_wait_for_one_name_share_the_answer(self) -> None:
        port = self.listen("127.0.0.1")
        engine = OpenEngine()
        connector = self.connector(engine=engine)
        outcomes = [Outcome() for _ in range(5)]
        for outcome in outcomes:
            connector.connect(Address.parse(f"db.example:{port}"), outcome, 5.0)
        assert engine.asked == ["db.example"]
        engine.answer(found("127.0.0.1"))
        for outcome in outcomes:
            await self.answers(outcome)
        last = Outcome()
        connector.connect(Address.parse(f"db.example:{port}"), last, 5.0)
        await self.answers(last)
        assert engine.asked == ["db.example"]

    async def test_two_addresses_share_the_dials(self) -> None:
        port = self.listen("0.0.0.0")
        connector = self.connector(engine=FixedEngine(found("127.0.0.1", "127.0.0.2")))
        reached = set()
        for _ in range(40):
            outcome = Outcome()
            connector.connect(Address.parse(f"db.example:{port}"), outcome, 5.0)
            reached.add((await self.answers(outcome)).connected_to.host)
        assert reached == {"127.0.0.1", "127.0.0.2"}

    async def test_one_that_refuses_is_tried_last(self) -> None:
        port = self.listen("127.0.0.1")
        connector = self.connector(engine=FixedEngine(found("127.0.0.1", "127.0.0.2")))
        dialled = self.note_sockets()
        for _ in range(40):
            outcome = Outcome()
            connector.connect(Address.parse(f"db.example:{port}"), outcome, 5.0)
            await self.answers(outcome)
        assert len(dialled) == 41

    async def test_one_that_accepts_again_is_as_good_as_any(self) -> None:
        port = self.listen("127.0.0.1")
        resolver = Resolver(reactor, engine=FixedEngine(found("127.0.0.1", "127.0.0.2")))
        connector = SocketConnector(reactor, SocketOptions.of(SocketConfig()), self.data_path, resolver)
        resolver.resolution("db.example").look_up()
        known = resolver.resolution("db.example").targets(port)
        assert known is not None
        here, absent = [(socket.AF_INET, (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        for target in (here, absent):
            known.failed(target)
        outcome = Outcome()
        connector.connect(Address.parse(f"db.example:{port}"), outcome, 5.0)
        await self.answers(outcome)
        for _ in range(20):
            assert known.order() == [here, absent]

    async def test_timed_out(self) -> None:
        with unanswering() as address:
            assert await self.cause(self.connect(address, 0.2)) == "timed out after 0.2 s"

    async def test_cancelled_is_silent(self) -> None:
        with unanswering() as address:
            outcome = self.connect(address, 30.0)
            self.pending.cancel()
            self.pending.cancel()
        assert outcome.failures == []

    async def test_cancelled_while_a_name_is_looked_up(self) -> None:
        outcome = self.connect("localhost:9")
        self.pending.cancel()
        other = self.connect("localhost:9")
        await self.cause(other)
        assert outcome.failures == []

    async def test_out_of_descriptors_is_our_own_fault(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        fillers = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers), limits[1]))
            outcome = self.connect("127.0.0.1:9")
        finally:
            for filler in fillers:
                os.close(filler)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await until(reactor, lambda: outcome.failures)
        assert outcome.failures[0].out_of_descriptors

    async def test_a_backend_that_speaks_first_and_is_done(self) -> None:
        """What it says may be there before we hear that it has accepted: nothing of that may be lost."""
        outcome = self.connect(f"127.0.0.1:{self.listen('127.0.0.1', Speaker)}")
        await until(reactor, lambda: outcome.protocol and outcome.protocol.finished)
        assert outcome.protocol is not None
        assert outcome.protocol.received == b"welcome"
        outcome.protocol.transport.loseConnection()

    async def test_all_of_that_before_the_reactor_looks(self) -> None:
        """One edge, and the only one, says all: connected, bytes, end."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            outcome = self.connect(f"127.0.0.1:{listener.getsockname()[1]}")
            server, _ = listener.accept()
            with server:
                server.sendall(b"welcome")
                server.shutdown(socket.SHUT_WR)
                await until(reactor, lambda: outcome.protocol and outcome.protocol.finished)
                assert outcome.protocol is not None
                assert outcome.protocol.received == b"welcome"
                outcome.protocol.transport.loseConnection()
                await until(reactor, lambda: outcome.protocol and outcome.protocol.lost)

    async def test_one_that_has_broken_off_before_the_reactor_looks(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            outcome = self.connect(f"127.0.0.1:{listener.getsockname()[1]}")
            reset(listener.accept()[0])
            assert await self.cause(outcome) == "reset"

    async def test_a_unix_listener_that_takes_one_and_closes(self) -> None:
        """Connected is connected, whatever has become of the listener since."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/socket")
            listener.listen(0)
            outcome = self.connect(f"unix:{folder}/socket")
            server, _ = listener.accept()
        with server:
            server.sendall(b"welcome")
            await until(reactor, lambda: outcome.failures or (outcome.protocol and outcome.protocol.received))
            assert outcome.failures == []
            assert outcome.protocol is not None
            outcome.protocol.transport.loseConnection()
            await until(reactor, lambda: outcome.protocol and outcome.protocol.lost)

    async def test_a_unix_listener_whose_queue_is_full_since(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/socket")
            listener.listen(0)
            outcome = self.connect(f"unix:{folder}/socket")
            await until(reactor, lambda: outcome.failures or outcome.protocol)
            assert outcome.failures == []
            assert outcome.protocol is not None
            outcome.protocol.transport.loseConnection()
            await until(reactor, lambda: outcome.protocol and outcome.protocol.lost)


class NativeConnectingTests(ConnectingTests):
    """The same on the native data path."""

    data_path_name = "auto"

    async def test_a_protocol_that_raises_at_what_came_with_the_connection_is_ended(self) -> None:
        def broken(_: object, data: bytes) -> None:
            raise RuntimeError("broken on purpose")

        self.patch(Recorder, "dataReceived", broken)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            outcome = self.connect(f"127.0.0.1:{listener.getsockname()[1]}")
            server, _ = listener.accept()
            with server:
                server.sendall(b"welcome")
                await until(reactor, lambda: outcome.protocol and outcome.protocol.lost)
        assert outcome.protocol is not None
        assert outcome.protocol.lost is not None
        assert outcome.protocol.lost.check(RuntimeError)
        assert len(self.flushLoggedErrors(RuntimeError)) == 1
