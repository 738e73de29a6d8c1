"""Listening: what is refused and why, what is left behind, and what running out of descriptors does."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent

from support.data_paths import DataPathCase
from support.ports import free_port
from support.sockets import Recorder, until
from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.config.quantities import Duration, Size
from tcpbalance.net import listener
from tcpbalance.net.binding import ListenError, bind, take_all
from tcpbalance.net.listener import ACCEPTS_A_TURN, Listener
from tcpbalance.net.socket_options import SocketOptions, shrunk_buffers
from tcpbalance.net.spare_descriptor import SpareDescriptor
from tcpbalance.stats import FrontendStats

reactor: Any = global_reactor

PLAIN = SocketOptions.of(SocketConfig())

RESERVE = SpareDescriptor.reserve


class Kept(Factory):
    """Keeps the protocols it makes; makes none when told to refuse."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self.refuses = False
        self.breaks = False

    def buildProtocol(self, addr: Any) -> Recorder | None:
        if self.breaks:
            raise RuntimeError("broken on purpose")
        if self.refuses:
            return None
        self.made.append(Recorder())
        return self.made[-1]


class ListenerTests(DataPathCase):
    """A ``Listener`` and blocking clients that never wait long."""

    def setUp(self) -> None:
        super().setUp()
        self.factory = Kept()
        self.stats = FrontendStats()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def listen(self, address: str, config: SocketConfig | None = None, backlog: int = 64) -> Listener:
        options = SocketOptions.of(config or SocketConfig())
        self.listener = self.make_listener(bind(Address.parse(address), options), backlog)
        self.listener.startListening()
        return self.listener

    def make_listener(self, sock: socket.socket, backlog: int = 16) -> Listener:
        listener = Listener(reactor, sock, self.factory, backlog, self.data_path, self.stats)
        self.addCleanup(listener.stopListening)
        return listener

    def client(self, family: int, target: Any) -> socket.socket:
        client = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.settimeout(5.0)
        client.connect(target)
        return client

    def tcp_client(self) -> socket.socket:
        host = self.listener.getHost()
        return self.client(socket.AF_INET, (host.host, host.port))

    async def close_all(self) -> None:
        for protocol in self.factory.made:
            protocol.transport.abortConnection()
        await until(reactor, lambda: all(protocol.lost for protocol in self.factory.made))

    async def test_ipv4(self) -> None:
        self.listen("127.0.0.1:0")
        client = self.tcp_client()
        await until(reactor, lambda: self.factory.made)
        assert self.factory.made[0].connected_to.port == client.getsockname()[1]
        assert str(self.listener).startswith("127.0.0.1:")
        await self.close_all()

    async def test_ipv6(self) -> None:
        host = self.listen("[::1]:0").getHost()
        self.client(socket.AF_INET6, ("::1", host.port))
        await until(reactor, lambda: self.factory.made)
        assert str(self.listener) == f"[::1]:{host.port}"
        await self.close_all()

    async def test_unix_file_comes_and_goes(self) -> None:
        path = self.folder / "socket"
        self.listen(f"unix:{path}")
        self.client(socket.AF_UNIX, str(path))
        await until(reactor, lambda: self.factory.made)
        await self.close_all()
        self.listener.stopListening()
        assert not path.exists()

    def test_both_families_of_one_port(self) -> None:
        port = free_port()
        self.listen(f"0.0.0.0:{port}")
        self.listen(f"[::]:{port}")

    def test_replaces_the_file_of_a_killed_process(self) -> None:
        path = self.folder / "socket"
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(path))
            killed.listen()
        self.listen(f"unix:{path}")

    def test_leaves_a_living_listeners_file_alone(self) -> None:
        path = self.folder / "socket"
        self.listen(f"unix:{path}")
        with pytest.raises(ListenError, match="address already in use"):
            bind(Address.parse(f"unix:{path}"), PLAIN)
        assert path.exists()

    def test_leaves_a_plain_file_alone(self) -> None:
        path = self.folder / "precious"
        path.write_text("data")
        with pytest.raises(
            ListenError, match=r"what is there is no socket: remove it or choose another path$"
        ):
            bind(Address.parse(f"unix:{path}"), PLAIN)
        assert path.read_text() == "data"

    def test_does_not_remove_a_successors_file(self) -> None:
        path = self.folder / "socket"
        self.listen(f"unix:{path}")
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
            self.listener.stopListening()
            assert path.exists()

    def test_address_in_use(self) -> None:
        port = self.listen("127.0.0.1:0").getHost().port
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            bind(Address.parse(f"127.0.0.1:{port}"), PLAIN)

    def test_address_of_another_machine(self) -> None:
        with pytest.raises(ListenError, match="address not on this machine"):
            bind(Address.parse("192.0.2.1:8080"), PLAIN)

    def bind_name(self, *addresses: str, port: int = 0) -> list[socket.socket]:
        """Listen on a name that has these addresses."""
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        found = [
            (family, 1, 6, "", (address, port, 0, 0) if ":" in address else (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]
        ask = socket.getaddrinfo

        def answer(host: str, *rest: Any) -> Any:
            return found if host == "own.example" else ask(host, *rest)

        self.patch(socket, "getaddrinfo", answer)
        socks = take_all(Address.parse(f"own.example:{port}"), lambda own: bind(own, PLAIN))
        for sock in socks:
            self.addCleanup(sock.close)
        return socks

    def test_a_name_of_both_families(self) -> None:
        socks = self.bind_name("::1", "127.0.0.1", "::1")
        assert [sock.getsockname()[0] for sock in socks] == ["::1", "127.0.0.1"]

    def test_an_address_of_a_name_that_this_machine_lacks_is_left_out(self) -> None:
        with capturedLogs() as events:
            (sock,) = self.bind_name("192.0.2.1", "127.0.0.1")
        assert sock.getsockname()[0] == "127.0.0.1"
        assert formatEvent(events[0]).startswith(
            "own.example:0: cannot listen on 192.0.2.1:0: address not on this machine"
        )

    def test_a_name_of_which_this_machine_has_no_address(self) -> None:
        with pytest.raises(
            ListenError, match=r"own\.example:0: cannot listen on 192.0.2.1:0: address not on"
        ):
            self.bind_name("192.0.2.1", "198.51.100.1")

    def test_a_name_of_which_one_address_is_taken(self) -> None:
        port = free_port()
        self.listen(f"127.0.0.1:{port}")
        with pytest.raises(ListenError, match="address already in use"):
            self.bind_name("127.0.0.2", "127.0.0.1", port=port)
        # The one that could be had is free again.
        with socket.socket() as sock:
            sock.bind(("127.0.0.2", port))

    def test_a_name_that_cannot_be_looked_up(self) -> None:
        def fail(*_: object) -> None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        self.patch(socket, "getaddrinfo", fail)
        with pytest.raises(ListenError, match=r"the name could not be looked up: .*Temporary failure"):
            take_all(Address.parse("own.example:80"), lambda own: bind(own, PLAIN))

    def test_no_folder_for_the_file(self) -> None:
        with pytest.raises(ListenError, match="no such folder"):
            bind(Address.parse(f"unix:{self.folder}/missing/socket"), PLAIN)

    def test_a_race_for_the_address_is_lost_with_a_clear_word(self) -> None:
        first = bind(Address.parse("127.0.0.1:0"), PLAIN)
        self.addCleanup(first.close)
        second = bind(Address.parse(f"127.0.0.1:{first.getsockname()[1]}"), PLAIN)
        first.listen()
        listener = self.make_listener(second)
        with pytest.raises(ListenError, match="address already in use"):
            listener.startListening()

    def test_refused_option(self) -> None:
        options = SocketOptions.of(SocketConfig(congestion="nonesuch"))
        with pytest.raises(
            ListenError, match=r"socket\.congestion: the system has no congestion control nonesuch; "
        ):
            bind(Address.parse("127.0.0.1:0"), options)

    async def test_options_are_inherited_by_accepted_sockets(self) -> None:
        config = SocketConfig(
            receive_buffer=Size(65536),
            send_buffer=Size(32768),
            max_segment=Size(1000),
            window_clamp=Size(20000),
            keepalive=Duration(60),
            user_timeout=Duration(7),
            fast_open=16,
            congestion="reno",
        )
        self.listen("127.0.0.1:0", config)
        self.tcp_client()
        await until(reactor, lambda: self.factory.made)
        sock = self.factory.made[0].transport.socket
        tcp = socket.IPPROTO_TCP
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 65536
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 32768
        assert sock.getsockopt(tcp, socket.TCP_MAXSEG) <= 1000
        assert sock.getsockopt(tcp, socket.TCP_WINDOW_CLAMP) == 20000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(tcp, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(tcp, socket.TCP_KEEPINTVL) == 20
        assert sock.getsockopt(tcp, socket.TCP_KEEPCNT) == 3
        assert sock.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 7000
        assert sock.getsockopt(tcp, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
        assert sock.getsockopt(tcp, socket.TCP_NODELAY) == 1
        await self.close_all()

    def test_fast_open_is_set_on_the_listener(self) -> None:
        sock = bind(Address.parse("127.0.0.1:0"), SocketOptions.of(SocketConfig(fast_open=16)))
        self.addCleanup(sock.close)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 16

    def test_tells_of_buffers_that_the_system_made_smaller(self) -> None:
        config = SocketConfig(receive_buffer=Size(2**29))
        with bind(Address.parse("127.0.0.1:0"), SocketOptions.of(config)) as sock:
            (warning,) = shrunk_buffers(sock, config)
        assert "socket.receive_buffer is" in warning
        assert "net.core.rmem_max" in warning

    async def test_a_refused_client_sees_a_reset(self) -> None:
        self.factory.refuses = True
        self.listen("127.0.0.1:0")
        client = self.tcp_client()
        client.setblocking(False)
        await until(reactor, lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)

    async def test_a_factory_that_raises_costs_only_that_client(self) -> None:
        self.factory.breaks = True
        self.listen("127.0.0.1:0")
        self.tcp_client()
        await until(reactor, lambda: self.flushLoggedErrors(RuntimeError))
        self.factory.breaks = False
        self.tcp_client()
        await until(reactor, lambda: self.factory.made)
        await self.close_all()

    async def test_a_protocol_that_cannot_begin_costs_only_that_client(self) -> None:
        self.patch(Recorder, "connectionMade", _break)
        self.listen("127.0.0.1:0")
        client = self.tcp_client()
        client.setblocking(False)
        await until(reactor, lambda: self.factory.made and self.factory.made[0].lost and _is_reset(client))
        assert len(self.flushLoggedErrors(RuntimeError)) == 1
        self.patch(Recorder, "connectionMade", lambda _: None)
        self.tcp_client()
        await until(reactor, lambda: len(self.factory.made) == 2)
        await self.close_all()

    def test_a_file_that_may_not_be_removed(self) -> None:
        self.listen(f"unix:{self.folder}/socket")

        def forbidden(_: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(os, "unlink", forbidden)
        with capturedLogs() as events:
            self.listener.stopListening()
        assert "left behind" in events[0]["log_format"]
        assert self.listener.fileno() == -1

    def test_two_at_once_on_one_file(self) -> None:
        """The second takes the first one's file for a dead process's: the first must not listen to nobody."""
        path = Address.parse(f"unix:{self.folder}/socket")
        first, second = (self.make_listener(bind(path, PLAIN)) for _ in range(2))
        second.startListening()
        with pytest.raises(ListenError, match="address already in use"):
            first.startListening()

    async def test_out_of_descriptors_sheds_and_recovers(self) -> None:
        self.listen("127.0.0.1:0")
        await deferLater(reactor, 0, lambda: None)  # Starting the reactor takes descriptors of its own.
        clients = [self.tcp_client() for _ in range(20)]
        for client in clients:
            client.setblocking(False)
        with no_descriptor_left():
            await until(reactor, lambda: all(_is_reset(client) for client in clients))
            assert self.factory.made == []
        self.tcp_client()
        await until(reactor, lambda: self.factory.made)
        await self.close_all()

    async def test_all_that_wait_are_turned_away_at_once(self) -> None:
        self.listen("127.0.0.1:0")
        await deferLater(reactor, 0, lambda: None)
        clients = [self.tcp_client() for _ in range(20)]
        for client in clients:
            client.setblocking(False)
        with no_descriptor_left(), capturedLogs() as events:
            self.listener.accept_some()
            assert all(_is_reset(client) for client in clients)
        assert [event["shed"] for event in events] == [20]
        assert self.stats.connections_shed == 20

    async def test_of_very_many_that_wait_so_many_are_turned_away_in_one_go(self) -> None:
        self.listen("127.0.0.1:0")
        await deferLater(reactor, 0, lambda: None)
        clients = [self.tcp_client() for _ in range(5)]
        for client in clients:
            client.setblocking(False)
        self.patch(listener, "SHED_A_TURN", 3)
        with no_descriptor_left():
            self.listener.accept_some()
            assert [_is_reset(client) for client in clients] == [True] * 3 + [False] * 2
            await until(reactor, lambda: all(_is_reset(client) for client in clients))

    async def test_those_turned_away_within_a_second_are_told_at_the_end(self) -> None:
        self.listen("127.0.0.1:0")
        await deferLater(reactor, 0, lambda: None)
        with capturedLogs() as events:
            for _ in range(3):
                client = self.tcp_client()
                client.setblocking(False)
                with no_descriptor_left():
                    self.listener.accept_some()
                assert _is_reset(client)
                self.listener._cooldown.cancel()
                self.listener._resume()
            self.listener.stopListening()
        assert [event["shed"] for event in events] == [1, 2]

    async def test_nobody_turned_away_is_not_worth_a_word(self) -> None:
        """The system says that it has no descriptor before it looks whether there is somebody to accept."""
        self.listen("127.0.0.1:0")
        await deferLater(reactor, 0, lambda: None)
        with no_descriptor_left(), capturedLogs() as events:
            self.listener.accept_some()
        assert events == []
        assert self.listener._cooldown is None

    async def test_the_reserve_is_taken_back_once_there_is_a_descriptor(self) -> None:
        self.listen("127.0.0.1:0")
        await deferLater(reactor, 0, lambda: None)
        client = self.tcp_client()
        with no_descriptor_left():
            # As when another thread takes the descriptor that was given up for a moment.
            self.patch(SpareDescriptor, "reserve", lambda _: None)
            self.listener.accept_some()
            self.patch(SpareDescriptor, "reserve", RESERVE)
            assert not self.has_reserve()
        await until(reactor, lambda: self.listener._cooldown is None)
        assert self.has_reserve()
        client.close()

    def has_reserve(self) -> bool:
        return self.listener._spare._number is not None

    async def test_a_flood_leaves_others_their_turn(self) -> None:
        self.listen("127.0.0.1:0")
        for _ in range(20):
            self.tcp_client()
        self.listener.accept_some()
        assert len(self.factory.made) == ACCEPTS_A_TURN
        await until(reactor, lambda: len(self.factory.made) == 20)
        await self.close_all()


class NativeListenerTests(ListenerTests):
    """The same on the native data path."""

    data_path_name = "auto"


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Hold every descriptor that this process may have."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        while (filler := os.open(os.devnull, os.O_RDONLY)) < highest + 5:
            held.callback(os.close, filler)
        held.callback(os.close, filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (filler + 1, limits[1]))
        yield


def _break(protocol: Recorder) -> None:
    raise RuntimeError("broken on purpose")


def _is_reset(client: socket.socket) -> bool:
    try:
        return client.send(b"x") < 0
    except BlockingIOError:
        return False
    except OSError:
        return True
