"""Other socket options, modes and owners for a balancer that runs: of what begins from then on, on sockets
that stay open."""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.logger import capturedLogs, formatEvent

from support.apply_case import ApplyCase
from support.ports import free_port
from tcpbalance import Balancer, ListenError, SocketConfig
from tcpbalance.config.paths import FileMode, GroupName, UserName
from tcpbalance.environment import PassedDescriptor
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.services.spare_sockets import SpareSockets

reactor: Any = global_reactor

SO_BUF_LOCK = 72

OPTIONS = {
    "receive_buffer": (socket.SOL_SOCKET, socket.SO_RCVBUF),
    "max_segment": (socket.IPPROTO_TCP, socket.TCP_MAXSEG),
    "window_clamp": (socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "keepalive idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "keepalive interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "keepalive probes": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    "locks": (socket.SOL_SOCKET, SO_BUF_LOCK),
}


def options_of(sock: socket.socket) -> dict[str, Any]:
    """Give the options of a connection, and the scale of the window that it has offered."""
    values: dict[str, Any] = {key: sock.getsockopt(*option) for key, option in OPTIONS.items()}
    if values["locks"] & 1:  # Otherwise the system sizes it anew all the time.
        values["send_buffer"] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    congestion = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return {**values, "window scale": info[6] >> 4, "congestion": congestion.rstrip(b"\0").decode()}


@contextmanager
def own_sockets() -> Iterator[list[socket.socket]]:
    """Give copies of the stream sockets that this process has."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(number)).st_mode):
                found.append(socket.socket(fileno=os.dup(int(number))))
    try:
        yield [sock for sock in found if sock.family == socket.AF_INET]
    finally:
        for sock in found:
            sock.close()


class ApplySocketsTests(ApplyCase):
    """A frontend whose clients are looked at from both sides."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    async def options(self, balancer: Balancer) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give the options that both sides of a new session have, in this process."""
        client = self.client(balancer)
        assert await self.answer(client) == "a"
        host, port = self.servers["a"].split(":")
        with own_sockets() as socks:
            (accepted,) = (it for it in socks if peer_of(it) == client.getsockname())
            dialled = [it for it in socks if peer_of(it) == (host, int(port))]
            assert len(dialled) == 1
            found = options_of(accepted), options_of(dialled[0])
        client.close()
        await self.is_idle(balancer)
        return found

    async def is_idle(self, balancer: Balancer) -> None:
        registry = balancer.factories["web"].registry
        if registry.sessions:
            await registry.when_idle()

    async def test_each_option_comes_and_goes(self) -> None:
        balancer = await self.running(self.config())
        (before,) = balancer.listens_on("web")
        usual = await self.options(balancer)
        tables: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            "receive_buffer": ({"receive_buffer": 5000}, {"receive_buffer": 10000}),
            "send_buffer": ({"send_buffer": 30000}, {"send_buffer": 60000}),
            "max_segment": ({"max_segment": 600}, {}),
            "window_clamp": ({"window_clamp": 5000}, {"window_clamp": 5000}),
            "keepalive": ({"keepalive": 30}, {"keepalive": 1, "keepalive idle": 30, "keepalive probes": 3}),
            "user_timeout": ({"user_timeout": 7}, {"user_timeout": 7000}),
            "congestion": ({"congestion": "reno"}, {"congestion": "reno"}),
        }
        for key, (table, expected) in tables.items():
            found = balancer.apply(self.config({"web": {"socket": SocketConfig(**table)}}))
            assert not found.needing_restart
            accepted, dialled = await self.options(balancer)
            assert expected.items() <= accepted.items(), key
            assert expected.items() <= dialled.items(), key
            if key == "max_segment":
                assert accepted["max_segment"] < 600 < usual[0]["max_segment"]
            balancer.apply(self.config())
            assert await self.options(balancer) == usual, key
        assert balancer.listens_on("web") == [before]

    async def test_one_of_two_buffers_goes(self) -> None:
        balancer = await self.running(self.config())
        for receive_buffer in (5000, None):
            table = SocketConfig(receive_buffer=receive_buffer, send_buffer=30000)
            balancer.apply(self.config({"web": {"socket": table}}))
        accepted, _ = await self.options(balancer)
        assert (accepted["locks"], accepted["send_buffer"]) == (1, 60000)

    async def test_the_handshake_follows_the_buffer(self) -> None:
        balancer = await self.running(self.config())
        scales = []
        for size in (4000, 1 << 17):
            balancer.apply(self.config({"web": {"socket": SocketConfig(receive_buffer=size)}}))
            scales.append((await self.options(balancer))[0]["window scale"])
        assert scales[0] < scales[1]

    async def test_fast_open_comes_and_goes(self) -> None:
        balancer = await self.running(self.config())
        for length in (5, None):
            balancer.apply(self.config({"web": {"socket": SocketConfig(fast_open=length)}}))
            (listener,) = (it for _, it in balancer.listeners())
            with listener.share_socket() as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == (length or 0)

    async def test_the_queue_has_another_length(self) -> None:
        balancer = await self.running(self.config())
        for backlog in (7, 9):
            balancer.apply(self.config({"web": {"backlog": backlog}}))
            (listener,) = (it for _, it in balancer.listeners())
            with listener.share_socket() as sock:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
            # Of a listening socket, tcpi_sacked is the length of its queue.
            assert struct.unpack_from("I", info, 28) == (backlog,)

    async def test_a_buffer_that_the_system_makes_smaller_is_in_the_log(self) -> None:
        balancer = await self.running(self.config())
        with capturedLogs() as events:
            balancer.apply(self.config({"web": {"socket": SocketConfig(receive_buffer=2**29)}}))
        lines = [formatEvent(event) for event in events]
        assert any("socket.receive_buffer is" in line and "rmem_max" in line for line in lines), lines

    async def test_clients_that_wait_and_sessions_that_are_open_go_on(self) -> None:
        balancer = await self.running(self.config())
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        waiting = self.client(balancer)
        balancer.apply(self.config({"web": {"socket": SocketConfig(keepalive=30)}}))
        assert [await self.answer(waiting), await self.answer(old)] == ["a", "a"]

    async def test_an_option_that_the_system_refuses_leaves_everything_as_it_was(self) -> None:
        balancer = await self.running(self.config())
        usual = await self.options(balancer)
        config = balancer.config
        wrong = {"socket": SocketConfig(keepalive=30, congestion="missing"), "backlog": 9}
        with pytest.raises(ListenError, match=r"frontend web: socket\.congestion: the system has no"):
            balancer.apply(self.config({"web": wrong}))
        assert balancer.config is config
        assert await self.options(balancer) == usual

    async def test_an_option_of_sockets_to_backends_alone_is_refused_as_well(self) -> None:
        listen = f"unix:{self.folder}/socket"
        balancer = await self.running(self.config({"web": {"listen": listen}}))
        wrong = SocketConfig(congestion="missing")
        with pytest.raises(ListenError, match=r"frontend web: socket\.congestion: the system has no"):
            balancer.apply(self.config({"web": {"listen": listen, "socket": wrong}}))

    async def test_an_address_moves_to_a_frontend_with_other_options(self) -> None:
        fixed = {"listen": f"127.0.0.1:{free_port()}"}
        balancer = await self.running(self.config({"web": {}, "old": fixed}))
        other = {**fixed, "socket": SocketConfig(keepalive=30), "backlog": 9}
        balancer.apply(self.config({"web": other}))
        assert (await self.options(balancer))[0]["keepalive idle"] == 30
        balancer.apply(self.config({"web": fixed}))
        assert (await self.options(balancer))[0]["keepalive idle"] != 30

    # Unix sockets

    def unix(self, **keys: Any) -> dict[str, Any]:
        return {"listen": ["127.0.0.1:0", f"unix:{self.folder}/socket"], **keys}

    def access(self) -> tuple[int, int, int]:
        status = (self.folder / "socket").stat()
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    def other_group(self) -> GroupName:
        """Give a group that a file can be given to, and is not given to by itself."""
        others = {*os.getgroups(), *([] if os.geteuid() else [grp.getgrnam("nogroup").gr_gid])} - {
            os.getegid()
        }
        if not others:
            self.skipTest("a group besides its own")
        return GroupName(grp.getgrgid(min(others)).gr_name)

    def unix_client(self) -> socket.socket:
        """Connect to the unix socket, without a wait for what comes."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(f"{self.folder}/socket")
        client.setblocking(False)
        return client

    async def test_the_mode_of_a_socket_that_stays_comes_and_goes(self) -> None:
        balancer = await self.running(self.config({"web": self.unix()}))
        usual = self.access()
        waiting = self.unix_client()
        for mode in (0o600, 0o622, None):
            table = self.unix(listen_mode=None if mode is None else FileMode(mode))
            assert not balancer.apply(self.config({"web": table})).needing_restart
            assert self.access() == (usual[0] if mode is None else mode, *usual[1:])
        assert await self.answer(waiting) == "a"

    async def test_a_group_comes_and_goes(self) -> None:
        group = self.other_group()
        balancer = await self.running(self.config({"web": self.unix()}))
        usual = self.access()
        balancer.apply(self.config({"web": self.unix(listen_group=group)}))
        assert self.access() == (*usual[:2], grp.getgrnam(group).gr_gid)
        balancer.apply(self.config({"web": self.unix()}))
        assert self.access() == usual

    async def test_without_a_group_a_file_has_that_of_its_folder_where_new_files_have_it(self) -> None:
        group = grp.getgrnam(self.other_group()).gr_gid
        os.chown(self.folder, -1, group)
        self.folder.chmod(0o2755)
        own = GroupName(grp.getgrgid(os.getegid()).gr_name)
        balancer = await self.running(self.config({"web": self.unix(listen_group=own)}))
        assert self.access()[2] == os.getegid()
        balancer.apply(self.config({"web": self.unix()}))
        assert self.access()[2] == group

    async def test_what_does_not_change_is_left_as_somebody_else_has_set_it(self) -> None:
        group = grp.getgrnam(self.other_group()).gr_gid
        balancer = await self.running(self.config({"web": self.unix()}))
        user = os.geteuid() or 1
        os.chown(self.folder / "socket", user, group)
        balancer.apply(self.config({"web": self.unix(listen_mode=FileMode(0o600))}))
        assert self.access() == (0o600, user, group)
        balancer.apply(self.config({"web": self.unix()}))
        (self.folder / "socket").chmod(0o640)
        own = GroupName(grp.getgrgid(os.getegid()).gr_name)
        balancer.apply(self.config({"web": self.unix(listen_group=own)}))
        assert (self.access()[0], self.access()[2]) == (0o640, os.getegid())

    async def test_a_group_is_given_without_the_permissions_of_the_other(self) -> None:
        """At no moment may anybody connect who may neither before nor after."""
        group = self.other_group()
        balancer = await self.running(self.config({"web": self.unix(listen_mode=FileMode(0o660))}))
        seen = []
        chown = os.chown

        def look(*args: Any, **keys: Any) -> None:
            seen.append(self.access()[0])
            chown(*args, **keys)

        self.patch(os, "chown", look)
        balancer.apply(self.config({"web": self.unix(listen_mode=FileMode(0o606), listen_group=group)}))
        assert (seen, self.access()[0]) == ([0o600], 0o606)

    async def test_a_reload_that_fails_leaves_mode_and_owner(self) -> None:
        balancer = await self.running(self.config({"web": self.unix(listen_mode=FileMode(0o640))}))
        before = self.access()
        with socket.create_server(("127.0.0.1", 0)) as holder:
            taken = f"127.0.0.1:{holder.getsockname()[1]}"
            tables = {"web": self.unix(listen_mode=FileMode(0o600)), "api": {"listen": taken}}
            with pytest.raises(ListenError, match="frontend api: cannot listen on"):
                balancer.apply(self.config(tables))
            assert self.access() == before
            renamed = {"other": self.unix(listen_mode=FileMode(0o600)), "third": {"listen": taken}}
            with pytest.raises(ListenError, match="frontend third: cannot listen on"):
                balancer.apply(self.config(renamed))
        assert self.access() == before
        nobody = UserName("no such user")
        with pytest.raises(ListenError, match=r"unix:.*/socket cannot be changed: there is no user no such"):
            balancer.apply(self.config({"web": self.unix(listen_mode=FileMode(0o600), listen_user=nobody)}))
        assert self.access() == before

    async def test_what_the_system_refuses_halfway_leaves_mode_and_owner(self) -> None:
        balancer = await self.running(self.config({"web": self.unix(listen_mode=FileMode(0o660))}))
        before = self.access()

        def refuse(*args: Any, **keys: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "chown", refuse)
        group = self.other_group()
        table = self.unix(listen_mode=FileMode(0o600), listen_group=group)
        with pytest.raises(ListenError, match="only root may give a file to another user"):
            balancer.apply(self.config({"web": table}))
        assert self.access() == before

    async def test_a_file_that_another_program_has_put_there_is_not_touched(self) -> None:
        balancer = await self.running(self.config({"web": self.unix()}))
        path = self.folder / "socket"
        path.unlink()
        for make in (lambda: None, lambda: path.write_bytes(b"")):
            make()
            with pytest.raises(ListenError, match="was removed or replaced by another program, restart"):
                balancer.apply(self.config({"web": self.unix(listen_mode=FileMode(0o600))}))
        path.chmod(0o644)
        assert not balancer.apply(self.config({"web": self.unix(backlog=7)})).needing_restart

    async def test_a_unix_socket_moves_to_a_frontend_that_gives_it_another_mode(self) -> None:
        balancer = await self.running(self.config({"web": self.unix()}))
        usual = self.access()
        waiting = self.unix_client()
        balancer.apply(self.config({"other": self.unix(listen_mode=FileMode(0o600))}))
        assert self.access() == (0o600, *usual[1:])
        assert await self.answer(waiting) == "a"
        balancer.apply(self.config({"web": self.unix()}))
        assert self.access() == usual
        waiting.close()
        await balancer.stopService()
        assert not (self.folder / "socket").exists()

    async def test_a_unix_socket_without_its_file_does_not_move(self) -> None:
        balancer = await self.running(self.config({"web": self.unix(), "more": {}}))
        path = self.folder / "socket"
        path.unlink()
        config, before = balancer.config, self.descriptors()
        after = self.config({"other": self.unix(), "more": {"listen": ("127.0.0.1:0", "127.0.0.2:0")}})
        for make in (lambda: None, lambda: path.write_bytes(b"")):
            make()
            for _ in range(2):
                with pytest.raises(ListenError, match=r"other: unix:.* was removed or replaced by another"):
                    balancer.apply(after)
        assert balancer.config is config
        assert self.descriptors() == before
        assert await self.answer(self.client(balancer, "more")) == "a"
        assert path.exists()

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    async def test_a_file_that_goes_as_its_socket_moves_breaks_nothing(self) -> None:
        balancer = await self.running(self.config({"web": self.unix()}))
        path = self.folder / "socket"
        commit = SpareSockets.commit

        def remove_and_commit(spare: SpareSockets) -> None:
            path.unlink()
            commit(spare)

        self.patch(SpareSockets, "commit", remove_and_commit)
        after = self.config({"other": self.unix(), "more": {}})
        balancer.apply(after)
        assert balancer.config is after
        assert await self.visited(balancer, "more") == "a"
        path.write_bytes(b"of another program")
        await balancer.stopService()
        assert path.exists()

    async def test_the_file_of_systemd_stays_when_its_socket_moves(self) -> None:
        path = self.folder / "socket"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen()
            path.chmod(0o640)
            passed = PassedDescriptor(os.dup(sock.fileno()), "web")
            config = self.config({"web": self.unix()})
            balancer = Balancer.from_config(reactor, config, inherited=InheritedSockets([passed]))
            self.addCleanup(balancer.stopService)
            balancer.startService()
            await balancer.when_listening()
            with pytest.raises(ListenError, match="its file is not as listen_mode says: use SocketMode="):
                balancer.apply(self.config({"web": self.unix(listen_mode=FileMode(0o600))}))
            balancer.apply(self.config({"other": self.unix(listen_mode=FileMode(0o640))}))
            await balancer.stopService()
            assert self.access()[0] == 0o640


class NativeApplySocketsTests(ApplySocketsTests):
    """The same on the native data path."""

    data_path_name = "auto"


def peer_of(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:
        return None
