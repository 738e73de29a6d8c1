"""Other configurations of a balancer that runs: what changes, what stays, and what leaves all as it was."""

from __future__ import annotations

import gc
import shutil
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.logger import Logger, capturedLogs, formatEvent

from support.apply_case import ApplyCase
from support.ports import free_port
from support.sockets import port_of, until
from support.unfinished_probe import UnfinishedProbe
from tcpbalance import (
    AccessConfig,
    Address,
    AdminState,
    AffinityConfig,
    Balancer,
    Config,
    EndReason,
    Frontend,
    HealthConfig,
    LimitsConfig,
    ListenError,
    Pool,
    SettingError,
    SocketConfig,
    TcpbalanceError,
    TcpProbe,
)
from tcpbalance.config.log import AccessLogConfig
from tcpbalance.config.paths import FileMode, FilePath
from tcpbalance.config.pools import BackendConfig, BackendState, PoolConfig
from tcpbalance.journal.frames import decode
from tcpbalance.net.data_path import DataPathName

reactor: Any = global_reactor

CHECK = HealthConfig(check="tcp", probe=TcpProbe())


class ApplyConfigTests(ApplyCase):
    """A balancer before servers that say which of them has answered."""

    async def test_backends_come_and_go_and_open_sessions_go_on(self) -> None:
        balancer = await self.running(self.config(web=self.pool("a")))
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        found = balancer.apply(self.config(web=self.pool("b")))
        assert list(found.added) == [("pools", "web", "backends", "b")]
        assert await self.answer(self.client(balancer)) == "b"
        assert await self.answer(old) == "a"
        old.close()
        stats = balancer.factories["web"].stats
        await until(reactor, lambda: stats.ended == {EndReason.CLIENT_CLOSED: 1})

    async def test_another_mode_goes_on_counting(self) -> None:
        balancer = await self.running(self.config())
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        stats = balancer.factories["web"].stats
        for mode in ("http", "tcp"):
            balancer.apply(self.config({"web": {"mode": mode}}))
            assert balancer.factories["web"].stats is stats
        assert await self.visited(balancer) == "a"
        old.close()
        await until(reactor, lambda: stats.ended == {EndReason.CLIENT_CLOSED: 2})
        assert stats.snapshot()["connections_total"] == 2
        assert stats.snapshot()["connections_active"] == 0

    async def test_another_mode_knows_the_connections_that_clients_have(self) -> None:
        limits = LimitsConfig(connections_per_client=1)
        balancer = await self.running(self.config({"web": {"limits": limits}}))
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        balancer.apply(self.config({"web": {"mode": "http", "limits": limits}}))
        assert await self.answer(self.client(balancer)) == ""
        balancer.apply(self.config({"web": {"limits": limits}}))
        assert await self.answer(self.client(balancer)) == ""
        old.close()
        admission = balancer.admissions["web"]
        await until(reactor, lambda: not list(admission.clients.open_counts()))
        assert await self.answer(self.client(balancer)) == "a"

    async def test_an_equal_one_changes_nothing(self) -> None:
        config = self.config(web=self.pool("ab", health=HealthConfig(check="tcp", probe=TcpProbe())))
        balancer = await self.running(config)
        parts = balancer._parts
        context = balancer.factories["web"].context
        services = list(balancer)
        assert not balancer.apply(config)
        assert balancer.factories["web"].context is context
        assert list(balancer) == services
        assert parts is not None
        assert balancer._parts is not None
        assert balancer._parts.pools == parts.pools

    async def test_what_did_not_change_is_not_touched(self) -> None:
        tables: dict[str, Any] = {"web": {}, "api": {"pool": "api"}}
        balancer = await self.running(self.config(tables, web=self.pool("a"), api=self.pool("b")))
        (service,) = (it for it in balancer._served.pools.values() if it.pool.name == "api")
        before = balancer.factories["api"].context, balancer.listens_on("api"), service.pool._members
        tables["web"] = {"backlog": 7}
        balancer.apply(self.config(tables, web=self.pool("abc"), api=self.pool("b")))
        after = balancer.factories["api"].context, balancer.listens_on("api"), service.pool._members
        assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True]
        assert before[1] == after[1]

    async def test_a_frontend_moves_to_another_pool(self) -> None:
        pools = {"web": self.pool("a"), "other": self.pool("b")}
        balancer = await self.running(self.config({"web": {}}, **pools))
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        balancer.apply(self.config({"web": {"pool": "other"}}, **pools))
        assert await self.answer(self.client(balancer)) == "b"
        assert await self.answer(old) == "a"
        assert [pool.name for pool in balancer._served.pools] == ["other"]

    async def test_a_frontend_waits_for_the_first_checks_of_the_pool_that_it_moves_to(self) -> None:
        checked = self.pool("b", health=HealthConfig(check="tcp", probe=TcpProbe()))
        pools = {"web": self.pool("a"), "other": checked}
        balancer = await self.running(self.config({"web": {}}, **pools))
        balancer.apply(self.config({"web": {"pool": "other"}}, **pools))
        assert await self.answer(self.client(balancer)) in "ab"
        await until(reactor, lambda: balancer.factories["web"].context.pool.name == "other")
        assert await self.answer(self.client(balancer)) == "b"

    async def test_a_frontend_that_comes_back_to_the_pool_that_serves_meanwhile_misses_nobody(self) -> None:
        probe = UnfinishedProbe()
        pools = {
            "web": self.pool("a", health=CHECK),
            "other": self.pool("b", health=HealthConfig(check="unfinished", probe=probe, timeout=60)),
        }
        balancer = await self.running(self.config({"web": {}}, **pools))
        balancer.apply(self.config({"web": {"pool": "other"}}, **pools))
        await until(reactor, lambda: probe.asked)
        # The first checks of the other one are not over.
        balancer.apply(self.config({"web": {}}, **pools))
        assert balancer.factories["web"].context.pool.selection.has_available()
        assert await self.answer(self.client(balancer)) == "a"

    async def test_a_change_during_the_start_is_opened_with(self) -> None:
        probe = UnfinishedProbe()
        slow = self.pool("a", health=HealthConfig(check="unfinished", probe=probe, timeout=60))
        pools = {"web": slow, "other": self.pool("b")}
        balancer = Balancer.from_config(reactor, self.config({"web": {}}, **pools))
        self.addCleanup(balancer.stopService)
        balancer.startService()
        await until(reactor, lambda: probe.asked)
        moved = {"web": {"pool": "other", "listen": ["127.0.0.1:0", "127.0.0.2:0"]}}
        balancer.apply(self.config(moved, **pools))
        await balancer.when_listening()
        assert len(balancer.listens_on("web")) == 2
        assert await self.answer(self.client(balancer)) == "b"

    async def test_addresses_come_and_go_and_the_others_stay(self) -> None:
        balancer = await self.running(self.config({"web": {"listen": ["127.0.0.1:0", "127.0.0.2:0"]}}))
        first, second = balancer.listens_on("web")
        old = socket.create_connection(("127.0.0.2", port_of(second)))
        self.addCleanup(old.close)
        old.setblocking(False)
        balancer.apply(self.config({"web": {"listen": ["127.0.0.3:0", "127.0.0.1:0"]}}))
        third, same = balancer.listens_on("web")
        assert same == first
        new = socket.create_connection(("127.0.0.3", port_of(third)))
        self.addCleanup(new.close)
        new.setblocking(False)
        assert await self.answer(new) == "a"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port_of(second)))
        # It was in the queue of the socket that has been closed.
        assert await self.answer(old) == "a"

    async def test_an_address_that_cannot_be_had_leaves_everything_as_it_was(self) -> None:
        balancer = await self.running(self.config(web=self.pool("a")))
        before = balancer.listens_on("web"), balancer.config, list(balancer)
        with socket.create_server(("127.0.0.1", 0)) as holder:
            taken = f"127.0.0.1:{holder.getsockname()[1]}"
            tables = {"web": {"listen": ["127.0.0.1:0", "127.0.0.2:0"]}, "api": {"listen": taken}}
            with pytest.raises(ListenError, match="frontend api: cannot listen on"):
                balancer.apply(self.config(tables, web=self.pool("b")))
        assert (balancer.listens_on("web"), balancer.config, list(balancer)) == before
        assert await self.answer(self.client(balancer)) == "a"

    async def test_a_frontend_that_is_removed_and_added_again(self) -> None:
        tables: dict[str, Any] = {"web": {}, "api": {}}
        balancer = await self.running(self.config(tables))
        old = self.client(balancer, "api")
        assert await self.answer(old) == "a"
        balancer.apply(self.config({"web": {}}))
        assert list(balancer.factories) == ["web"]
        assert await self.answer(old) == "a"
        balancer.apply(self.config(tables))
        await until(reactor, lambda: balancer.listens_on("api"))
        assert await self.answer(self.client(balancer, "api")) == "a"

    async def test_a_frontend_of_another_name_keeps_its_socket_and_the_clients_that_wait(self) -> None:
        fixed = {"listen": f"127.0.0.1:{free_port()}"}
        balancer = await self.running(self.config({"web": fixed}))
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        waiting = self.client(balancer)
        pools = {"web": self.pool("a"), "other": self.pool("b", health=CHECK)}
        balancer.apply(self.config({"renamed": {**fixed, "pool": "other"}}, **pools))
        late = self.client(balancer, "renamed")
        assert list(balancer.factories) == ["renamed"]
        assert await self.answer(late) == "b"
        assert await self.answer(waiting) == "b"
        assert await self.answer(old) == "a"

    async def test_an_address_moves_from_one_frontend_to_another(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        moving = f"unix:{folder}/socket"

        def ask() -> socket.socket:
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.connect(f"{folder}/socket")
            client.setblocking(False)
            return client

        pools = {"web": self.pool("a"), "other": self.pool("b")}
        first = {"web": {"listen": ["127.0.0.1:0", moving]}, "api": {"pool": "other"}}
        second = {"web": {}, "api": {"listen": ["127.0.0.1:0", moving], "pool": "other"}}
        balancer = await self.running(self.config(first, **pools))
        for tables, server in ((second, "b"), (first, "a"), (second, "b")):
            balancer.apply(self.config(tables, **pools))
            assert await self.answer(ask()) == server
        with socket.create_server(("127.0.0.1", 0)) as holder:
            broken = {**first, "third": {"listen": f"127.0.0.1:{holder.getsockname()[1]}"}}
            with pytest.raises(ListenError):
                balancer.apply(self.config(broken, **pools))
        assert await self.answer(ask()) == "b"
        balancer.apply(self.config({"web": {}}, **pools))
        assert not (folder / "socket").exists()

    async def test_another_backlog_loses_no_client_that_waits(self) -> None:
        balancer = await self.running(self.config())
        (before,) = balancer.listens_on("web")
        client = self.client(balancer)
        balancer.apply(self.config({"web": {"backlog": 3}}))
        assert balancer.listens_on("web") == [before]
        assert await self.answer(client) == "a"

    async def test_a_limit_of_connections_holds_at_once(self) -> None:
        balancer = await self.running(self.config())
        first = self.client(balancer)
        assert await self.answer(first) == "a"
        balancer.apply(self.config({"web": {"limits": LimitsConfig(connections=1)}}))
        second = self.client(balancer)
        second.send(b"?")
        await until(reactor, lambda: balancer.factories["web"].registry.accept_pause._reasons)
        assert len(balancer.factories["web"].registry.sessions) == 1
        balancer.apply(self.config({"web": {"limits": LimitsConfig(connections=2)}}))
        assert await self.answer(second) == "a"

    async def test_clients_stay_counted_under_other_limits(self) -> None:
        limits = LimitsConfig(connections_per_client=5)
        balancer = await self.running(self.config({"web": {"limits": limits}}))
        first = self.client(balancer)
        assert await self.answer(first) == "a"
        limits = LimitsConfig(connections_per_client=1)
        balancer.apply(self.config({"web": {"limits": limits}}))
        assert await self.answer(self.client(balancer)) == ""
        first.close()
        await until(reactor, lambda: not balancer.factories["web"].registry.sessions)
        assert await self.answer(self.client(balancer)) == "a"

    async def test_limits_on_clients_begin_and_end(self) -> None:
        balancer = await self.running(self.config())
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        for _ in range(2):
            limits = LimitsConfig(connections_per_client=1)
            balancer.apply(self.config({"web": {"limits": limits}}))
            first = self.client(balancer)
            assert await self.answer(first) == "a"
            assert await self.answer(self.client(balancer)) == ""
            balancer.apply(self.config())
            assert await self.answer(self.client(balancer)) == "a"
            first.close()
        old.close()
        await until(reactor, lambda: len(balancer.factories["web"].registry.sessions) == 2)

    async def test_lists_refuse_the_next_clients(self) -> None:
        balancer = await self.running(self.config())
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        balancer.apply(self.config({"web": {"access": AccessConfig(deny=["127.0.0.0/8"])}}))
        assert await self.answer(self.client(balancer)) == ""
        assert await self.answer(old) == "a"
        balancer.apply(self.config())
        assert await self.answer(self.client(balancer)) == "a"

    def deny_file(self, text: str) -> Path:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        file = folder / "deny"
        file.write_text(text)
        return file

    async def test_a_deny_file_that_changes_together_with_another_key(self) -> None:
        file = self.deny_file("192.0.2.0/24\n")
        access = AccessConfig(deny_file=FilePath(file))
        balancer = await self.running(self.config({"web": {"access": access}}))
        file.write_text("127.0.0.0/8\n")
        balancer.reload_files()
        balancer.apply(self.config({"web": {"access": access, "backlog": 9}}))
        await until(reactor, lambda: self.denies(balancer))
        file.write_text("192.0.2.0/24 # and no other\n")
        balancer.reload_files()
        limits = LimitsConfig(connections_per_client=9)
        balancer.apply(self.config({"web": {"access": access, "limits": limits}}))
        await until(reactor, lambda: not self.denies(balancer))

    async def test_a_deny_file_that_changes_after_another_mode_has_come(self) -> None:
        file = self.deny_file("192.0.2.0/24\n")
        access = AccessConfig(deny_file=FilePath(file))
        balancer = await self.running(self.config({"web": {"access": access}}))
        for limits in (None, LimitsConfig(connections=9), LimitsConfig(connections_per_client=9)):
            keys = {"access": access, "mode": "http", "limits": limits}
            balancer.apply(self.config({"web": keys}))
            file.write_text("127.0.0.0/8\n")
            balancer.reload_files()
            await until(reactor, lambda: self.denies(balancer))
            file.write_text("192.0.2.0/24 # and no other\n")
            balancer.reload_files()
            await until(reactor, lambda: not self.denies(balancer))
            balancer.apply(self.config({"web": {**keys, "mode": "tcp"}}))

    async def test_a_new_pool_without_a_backend_is_reported_when_it_is_applied(self) -> None:
        balancer = await self.running(self.config())
        gone = BackendConfig(address=self.servers["b"], state="maintenance")
        after = self.config(
            {"web": {}, "api": {"pool": "gone"}}, web=self.pool("a"), gone=PoolConfig(backends=(gone,))
        )
        with capturedLogs() as events:
            prepared = balancer.prepare_config(after)
            assert events == []
            balancer.apply(prepared)
        lines = [formatEvent(event) for event in events]
        assert lines.count("pool gone: no backend left: 1 maintenance") == 1

    async def test_a_deny_file_of_a_new_frontend_that_changes_before_it_begins(self) -> None:
        balancer = await self.running(self.config())
        file = self.deny_file("192.0.2.0/24\n")
        access = AccessConfig(deny_file=FilePath(file))
        prepared = balancer.prepare_config(self.config({"web": {}, "api": {"access": access}}))
        file.write_text("127.0.0.0/8\n")
        balancer.reload_files()
        balancer.apply(prepared)
        await until(reactor, lambda: self.denies(balancer, "api"))

    def denies(self, balancer: Balancer, name: str = "web") -> bool:
        """Whether this machine's own clients are refused."""
        admission = balancer.factories[name].context.admission
        assert admission is not None
        return admission.control.access.refusal(bytes([127, 0, 0, 1])) is not None

    async def test_other_limits_open_no_deny_file(self) -> None:
        file = self.deny_file("127.0.0.0/8\n")
        access = AccessConfig(deny_file=FilePath(file))
        balancer = await self.running(self.config({"web": {"access": access}}))
        file.unlink()
        for limits in (LimitsConfig(connections_per_client=5), LimitsConfig(connections_per_client=6), None):
            for mode in ("tcp", "http"):
                balancer.apply(self.config({"web": {"access": access, "limits": limits, "mode": mode}}))
                assert self.denies(balancer)

    async def test_what_was_given_up_is_held_no_longer(self) -> None:
        health = HealthConfig(check="tcp", probe=TcpProbe())
        balancer = await self.running(self.config())
        (service,) = balancer._served.pools.values()
        for _ in range(3):
            balancer.apply(self.config(web=self.pool("a", health=health)))
            balancer.apply(self.config())
        await until(reactor, lambda: not service._given_up)

    async def test_checks_begin_and_end_without_a_gap(self) -> None:
        balancer = await self.running(self.config(web=self.pool("ab")))
        for check in (HealthConfig(check="tcp", probe=TcpProbe()), None):
            for interval in (2, 3):
                health = None if check is None else HealthConfig(probe=TcpProbe(), interval=interval)
                balancer.apply(self.config(web=self.pool("ab", health=health)))
                assert await self.answer(self.client(balancer)) in "ab"

    async def test_a_backend_at_another_address_takes_the_place_of_the_one_of_its_name(self) -> None:
        health = HealthConfig(check="tcp", probe=TcpProbe())
        balancer = await self.running(self.config(web=self.pool("a", health=health)))
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        moved = BackendConfig(address=self.servers["b"], name="a")
        balancer.apply(self.config(web=PoolConfig(backends=(moved,), health=health)))
        assert await self.answer(self.client(balancer)) == "b"
        assert await self.answer(old) == "a"

    async def test_a_removed_backend_drains_within_its_time(self) -> None:
        limit = {"drain_timeout": 0.2}
        balancer = await self.running(self.config(web=self.pool("ab", **limit)))
        clients = [self.client(balancer) for _ in range(4)]
        served = [await self.answer(client) for client in clients]
        assert sorted(served) == ["a", "a", "b", "b"]
        balancer.apply(self.config(web=self.pool("b", **limit)))
        stats = balancer.factories["web"].stats
        await until(reactor, lambda: stats.ended == {EndReason.DRAINED: 2})
        assert [await self.answer(client) for client in clients] == [
            "" if name == "a" else "b" for name in served
        ]
        await until(reactor, lambda: not balancer._shared.drains._due)

    async def test_a_backend_that_comes_back_is_not_drained(self) -> None:
        def in_state(state: BackendState) -> Config:
            backends = [
                BackendConfig(address=self.servers["a"], name="a", state=state),
                BackendConfig(address=self.servers["b"], name="b"),
            ]
            return self.config(web=PoolConfig(backends=tuple(backends), drain_timeout=30))

        balancer = await self.running(in_state("drain"))
        assert [await self.answer(self.client(balancer)) for _ in range(3)] == ["b", "b", "b"]
        states: list[BackendState] = ["ready", "maintenance", "drain", "ready"]
        for state in states:
            balancer.apply(in_state(state))
            answers = {await self.answer(self.client(balancer)) for _ in range(3)}
            assert answers == ({"a", "b"} if state == "ready" else {"b"})
            assert len(balancer._shared.drains._due) == (state != "ready")

    async def test_a_backend_that_was_removed_and_comes_back_is_not_drained(self) -> None:
        limit = {"drain_timeout": 30}
        balancer = await self.running(self.config(web=self.pool("a", **limit)))
        client = self.client(balancer)
        assert await self.answer(client) == "a"
        (pool,) = balancer._served.pools
        (backend,) = pool.backends
        balancer.apply(self.config(web=self.pool("b", **limit)))
        assert list(balancer._shared.drains._due) == [backend]
        balancer.apply(self.config(web=self.pool("ab", **limit)))
        assert not balancer._shared.drains._due
        assert pool.backends[0] is backend
        assert backend.active == 1
        assert await self.answer(client) == "a"

    async def test_a_state_that_was_changed_otherwise_stays_until_the_file_has_another(self) -> None:
        balancer = await self.running(self.config(web=self.pool("ab")))
        (pool,) = balancer._served.pools
        pool.set_admin_state(pool.backends[0], AdminState.MAINTENANCE)
        balancer.apply(self.config(web=self.pool("ab", retries=1)))
        assert [await self.answer(self.client(balancer)) for _ in range(3)] == ["b", "b", "b"]

    async def test_clients_that_belong_to_a_backend_leave_it_when_its_time_to_drain_is_over(self) -> None:
        affinity = AffinityConfig()

        def in_state(state: BackendState) -> Config:
            backends = [
                BackendConfig(address=self.servers[name], name=name, state=state if name == home else "ready")
                for name in "ab"
            ]
            table = PoolConfig(backends=tuple(backends), affinity=affinity, drain_timeout=0.2)
            return self.config(web=table)

        home = ""
        balancer = await self.running(in_state("ready"))
        old = self.client(balancer)
        home = await self.answer(old)
        balancer.apply(in_state("drain"))
        assert await self.answer(self.client(balancer)) == home
        stats = balancer.factories["web"].stats
        await until(reactor, lambda: stats.ended[EndReason.DRAINED] == 2)
        assert await self.answer(self.client(balancer)) == ("b" if home == "a" else "a")

    async def test_sessions_of_a_pool_that_is_not_used_any_more_have_its_time(self) -> None:
        pools = {"web": self.pool("a", drain_timeout=0.2), "other": self.pool("b")}
        balancer = await self.running(self.config({"web": {}}, **pools))
        old = self.client(balancer)
        assert await self.answer(old) == "a"
        balancer.apply(self.config({"web": {"pool": "other"}}, **pools))
        stats = balancer.factories["web"].stats
        await until(reactor, lambda: stats.ended == {EndReason.DRAINED: 1})

    async def test_a_drain_of_a_hundred_sessions_is_watched_to_its_end(self) -> None:
        balancer = await self.running(self.config(web=self.pool("a")))
        clients = [self.client(balancer) for _ in range(100)]
        for client in clients:
            assert await self.answer(client) == "a"
        (pool,) = balancer._served.pools
        (drained,) = pool.backends
        balancer.apply(self.config(web=self.pool("b")))
        assert (drained.removed, drained.active) == (True, 100)

        def is_down_to(count: int) -> bool:
            return drained.active == count

        for left in range(99, -1, -1):
            assert await self.answer(clients[-1]) == "a"
            clients.pop().close()
            await until(reactor, partial(is_down_to, left))
        assert balancer.factories["web"].stats.ended == {EndReason.CLIENT_CLOSED: 100}

    async def test_affinity_survives_another_policy(self) -> None:
        affinity = AffinityConfig()
        balancer = await self.running(self.config(web=self.pool("ab", affinity=affinity)))
        served = await self.answer(self.client(balancer))
        balancer.apply(self.config(web=self.pool("ab", affinity=affinity, balance="least_connections")))
        for _ in range(4):
            assert await self.answer(self.client(balancer)) == served

    async def test_affinity_is_kept_in_a_file_from_now_on_and_in_another_one_later(self) -> None:
        config = self.config(web=self.pool("abc", affinity=AffinityConfig()))
        balancer = await self.running(config)
        served = await self.visited(balancer)
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        for name in ("one", "two"):
            affinity = AffinityConfig(state_file=folder / name)
            config = self.config(web=self.pool("abc", affinity=affinity))
            balancer.apply(config)
            assert await self.visited(balancer) == served
        await until(reactor, (folder / "two").exists)
        await balancer.stopService()
        for name in ("one", "two"):
            (journal,) = decode((folder / name).read_bytes()).frames[:1]
            assert [backend for backend, _ in journal.backends] == [*"abc"]
        again = await self.running(config)
        for _ in range(4):
            assert await self.visited(again) == served

    async def test_a_balancer_that_starts_again_goes_on_with_its_file(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        file = folder / "sticky"
        affinity = AffinityConfig(state_file=file)
        balancer = await self.running(self.config(web=self.pool("ab", affinity=affinity)))
        served = await self.visited(balancer)
        for _ in range(2):
            await balancer.stopService()
            written = file.stat().st_ino
            balancer.startService()
            await balancer.when_listening()
            assert await self.visited(balancer) == served
            await until(reactor, partial(self.is_another, file, written))

    def is_another(self, file: Path, written: int) -> bool:
        """Whether a file was replaced by another, whole one."""
        return file.stat().st_ino != written

    async def test_the_access_log_goes_elsewhere(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        first, second = folder / "first", folder / "second"

        def logging_to(path: Path | None) -> Config:
            table = None if path is None else AccessLogConfig(path=str(path))
            return evolve(self.config(), access_log=table)

        def lines_of(path: Path) -> int:
            return path.read_text().count("\n")

        async def visit() -> None:
            client = self.client(balancer)
            assert await self.answer(client) == "a"
            client.close()
            await until(reactor, lambda: not balancer.factories["web"].registry.sessions)

        balancer = await self.running(logging_to(None))
        for path in (first, second):
            balancer.apply(logging_to(path))
            await visit()
            await until(reactor, partial(lines_of, path))
        broken = folder / "missing" / "log"
        with pytest.raises(TcpbalanceError, match=r"cannot be opened|no such file"):
            balancer.apply(logging_to(broken))
        balancer.apply(logging_to(None))
        await visit()
        await balancer.stopService()
        assert (lines_of(first), lines_of(second)) == (1, 1)

    async def test_a_key_that_needs_a_restart_keeps_its_value(self) -> None:
        balancer = await self.running(self.config())
        other: DataPathName = "portable" if self.data_path_name == "auto" else "auto"
        config = evolve(self.config({"web": {"backlog": 9}}), data_path=other, shutdown_grace=7)
        found = balancer.apply(config)
        assert [change.path for change in found.needing_restart] == [("data_path",)]
        assert balancer.config is not None
        assert balancer.config.data_path == self.data_path_name
        assert balancer.config.frontends["web"].backlog == 9
        assert balancer._shared.grace == 7

    async def test_a_new_unix_socket_has_the_mode_that_comes_with_it_and_one_that_goes_takes_it_along(
        self,
    ) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        tcp, file = "127.0.0.1:0", folder / "a"
        balancer = await self.running(self.config())
        both = {"listen": [tcp, f"unix:{file}"], "listen_mode": FileMode(0o600)}
        assert not balancer.apply(self.config({"web": both})).needing_restart
        assert file.stat().st_mode & 0o777 == 0o600
        assert not balancer.apply(self.config()).needing_restart
        assert len(balancer.listens_on("web")) == 1

    async def test_only_a_balancer_that_runs_by_a_configuration(self) -> None:
        frontend = Frontend("web", "127.0.0.1:0", Pool("web", [self.servers["a"]]))
        with pytest.raises(SettingError, match=r"Balancer\.from_config"):
            Balancer(reactor, [frontend], data_path=self.data_path_name).apply(self.config())
        with pytest.raises(TcpbalanceError, match="does not run"):
            Balancer.from_config(reactor, self.config()).apply(self.config())

    async def test_many_changes_leave_nothing_behind(self) -> None:
        health = HealthConfig(check="tcp", probe=TcpProbe())
        configs = [
            self.config({"web": {}, "api": {"listen": "127.0.0.2:0"}}, web=self.pool("ab", health=health)),
            self.config({"web": {"backlog": 5}}, web=self.pool("bc", affinity=AffinityConfig())),
            self.config({"web": {"listen": Address.parse("127.0.0.2:0")}}, web=self.pool("c", slow_start=5)),
        ]
        balancer = await self.running(configs[0])

        async def a_round() -> tuple[int, ...]:
            for config in [*configs[1:], configs[0]]:
                balancer.apply(config)
            await until(reactor, lambda: balancer.listens_on("api") and not balancer._served.retiring)
            (pool,) = balancer._served.pools
            calls, readers = len(reactor.getDelayedCalls()), len(reactor.getReaders())
            return len(list(balancer)), len(pool._subscribers._subscribed), calls, readers

        await a_round()
        assert await a_round() == await a_round()
        assert await self.answer(self.client(balancer)) in "ab"


class NativeApplyConfigTests(ApplyConfigTests):
    """The same on the native data path."""

    data_path_name = "auto"

    @pytest.mark.timeout(180)
    async def test_a_thousand_changes_take_no_memory_descriptors_or_timers(self) -> None:
        # Events of the log are kept until a test is over.
        self.patch(Logger, "emit", lambda *args, **keys: None)
        listen = ["127.0.0.1:0", "127.0.0.2:0"]
        configs = [
            self.config(
                {
                    "web": {"listen": listen[: 1 + number % 2], "backlog": 5 + number % 3},
                    **({"api": {"socket": SocketConfig(keepalive=30 + number)}} if number % 3 else {}),
                },
                web=self.pool(
                    "abc"[number % 2 : 2 + number % 3],
                    health=CHECK if number % 4 else None,
                    affinity=AffinityConfig() if number % 5 else None,
                    balance=("round_robin", "least_connections")[number % 2],
                    retries=number % 3,
                ),
            )
            for number in range(10)
        ]
        balancer = await self.running(configs[0])

        async def held_after(changes: int) -> tuple[int, int, int]:
            """Give the objects, descriptors and timers that there are after some more changes."""
            for number in range(1, changes + 1):
                balancer.apply(configs[number % 10])
                if number % 10 == 0:
                    with socket.create_connection(
                        ("127.0.0.1", port_of(balancer.listens_on("web")[0]))
                    ) as it:
                        it.setblocking(False)
                        assert await self.answer(it) in "abc"
            registry = balancer.factories["web"].registry
            await until(reactor, lambda: not balancer._served.retiring and not registry.sessions)
            gc.collect()
            descriptors = len(list(Path("/proc/self/fd").iterdir()))
            return len(gc.get_objects()), descriptors, len(reactor.getDelayedCalls())

        await held_after(20)
        objects, *others = await held_after(20)
        objects_in_the_end, *others_in_the_end = await held_after(1000)
        assert others_in_the_end == others
        assert objects_in_the_end < objects + 250

    # On a busy machine, it takes ten times as long as on a quiet one.
    test_a_thousand_changes_take_no_memory_descriptors_or_timers.timeout = 120  # type: ignore[attr-defined]
