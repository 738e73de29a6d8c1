"""The admin side of a balancer that runs: looked at and steered by real clients, with and without workers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
from collections import Counter
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from support.admin import BACKEND_A, LOOPBACK, Admin, Stage
from support.clients import ask, connect, reset
from support.http_echo import http_echoes
from support.ports import free_port
from support.waiting import until
from tcpbalance.control.admin_http import MAX_CONNECTIONS
from tcpbalance.workers.shared_counts import can_count

TOKEN, READ_ONLY = "0123456789abcdef-full", "0123456789abcdef-read"


def records(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "access.log").read_text().splitlines()]


def test_what_is_counted_agrees_with_the_access_log(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        for number in range(20):
            ask(daemon.port, b"x" * number, source=f"127.0.0.{number + 1}")
        until(lambda: len(records(stage.folder)) == 20, "20 records")
        lines = records(stage.folder)

        (web,) = admin.get("/api/v1/frontends")["frontends"]
        counters = web["counters"]
        assert counters["connections_total"] == 20
        assert counters["connections_active"] == 0
        assert counters["bytes_in"] == sum(line["client_bytes"] for line in lines)
        assert counters["bytes_out"] == sum(line["backend_bytes"] for line in lines)
        pool = admin.get("/api/v1/pools/web")
        for backend in pool["backends"]:
            of_it = [line for line in lines if line["backend"] == backend["name"]]
            assert backend["counters"]["connections_total"] == len(of_it)
            assert backend["counters"]["bytes_out"] == sum(line["backend_bytes"] for line in of_it)


def test_at_rest_all_figures_of_tcp_and_http_are_those_of_the_access_log(stage: Stage) -> None:
    with http_echoes("a", "b") as (a, b), stage.daemon(LOOPBACK, SITE.format(a=a, b=b)) as daemon:
        admin = Admin(daemon)
        for number in range(1, 13):
            source = f"127.0.0.{number}"
            ask(daemon.ports["web"], bytes(number * 10_000), source)
            with connect(daemon.ports["web"], source) as client:
                client.sendall(bytes(number))
                client.recv(1)
                reset(client)
            visit_site(daemon.ports["site"], source, number)

        def at_rest() -> bool:
            found = admin.get("/api/v1/frontends")["frontends"]
            totals = {its["name"]: its["counters"].get("requests_total", 0) for its in found}
            active = sum(its["counters"]["connections_active"] for its in found)
            return (totals["site"], active) == (sum(range(1, 13)) + 12, 0)

        until(at_rest, lambda: f"rest: {admin.get('/api/v1/frontends')}")
        lines = daemon.wait_for_records(2 * 12 + sum(range(1, 13)) + 12)
        view = admin.get("/api/v1/view")
        for frontend in view["frontends"]:
            its = [line for line in lines if line["frontend"] == frontend["name"]]
            assert_agrees(frontend["counters"], its, "requests_ended" if its[0].get("method") else "ended")
        for pool in view["pools"]:
            for backend in pool["backends"]:
                its = [
                    line
                    for line in lines
                    if (line["frontend"], line["backend"]) == (pool["name"], backend["name"])
                ]
                assert_agrees(backend["counters"], its, "ended")


SITE = """
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
pool = "site"
[pools.site]
backends = [{{ name = "a", address = "{a}" }}, {{ name = "b", address = "{b}" }}]
"""


def visit_site(port: int, source: str, number: int) -> None:
    """Send so many requests on one connection, and one that is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    with closing(connection):
        for count in range(number):
            connection.request("POST", "/", bytes(count * 1000))
            assert connection.getresponse().read()
    with connect(port, source) as client:
        client.sendall(b"no request\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 400"


def assert_agrees(counters: dict[str, int], lines: list[Any], ended: str) -> None:
    """Counters say what these lines of the access log do, to the last byte."""
    assert counters["bytes_in"] == sum(line["client_bytes"] for line in lines)
    assert counters["bytes_out"] == sum(line["backend_bytes"] for line in lines)
    counted = {name: count for name, count in counters.items() if name.partition(".")[0] == ended and count}
    assert counted == Counter(f"{ended}.{line['reason']}" for line in lines)


def test_open_sessions_are_seen(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon, connect(daemon.port) as client:
        client.sendall(b"question")
        admin = Admin(daemon)

        def counted() -> list[int]:
            counters = admin.get("/api/v1/frontends/web")["counters"]
            return [counters[name] for name in ("connections_active", "bytes_in", "bytes_out")]

        until(lambda: counted() == [1, 8, 1], lambda: f"one session: {counted()}")
        backends = admin.get("/api/v1/pools/web")["backends"]
        assert sorted(backend["counters"]["bytes_in"] for backend in backends) == [0, 8]


def test_each_process_is_seen(stage: Stage, workers: int) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        status = Admin(daemon).get("/api/v1/status")
        processes = status["processes"]
        assert len(processes) == (workers + 1 if workers > 1 else 1)
        for process in processes:
            assert os.path.exists(f"/proc/{process['pid']}")
            assert process["memory"] > 1 << 20
            assert 0 < process["descriptors"] < process["max_descriptors"]
        if workers > 1:
            assert [process.get("worker") for process in processes] == [0, 1, None]
            assert ["supervisor" in process for process in processes] == [False, False, True]
            assert processes[-1]["pid"] == daemon.process.pid
            assert processes[-1]["worst_loop_lag"] < 20
        assert status["workers"]["serving"] == workers
        assert not any(status["workers"]["ended"].values())


def test_a_backend_is_drained_and_comes_back(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        status, backend = admin.ask("PATCH", BACKEND_A, {"state": "drain"})
        assert (status, backend["state"], backend["lasts"]) == (200, "draining", "until the next restart")
        daemon.wait_for_log(r"admin: 127\.0\.0\.1:\d+ .*backend a .*drain")
        until(lambda: {ask(daemon.port) for _ in range(4)} == {b"b"}, "all clients at b")

        assert admin.ask("PATCH", BACKEND_A, {"state": "ready"})[1]["state"] == "up"
        until(lambda: {ask(daemon.port) for _ in range(4)} == {b"a", b"b"}, "clients at both")


NO_SENSE: list[tuple[str, str, object, int, str]] = [
    ("GET", "/api/v1/pools/wep", None, 404, 'no pool is named "wep", did you mean "web"?'),
    ("GET", "/api/v1/pools/web/backends/c", None, 404, 'no backend is named "c", the backends are'),
    ("GET", "/api/v1/pool", None, 404, "did you mean /api/v1/pools?"),
    ("DELETE", "/api/v1/pools", {}, 405, "takes GET, HEAD, not DELETE"),
    ("PATCH", BACKEND_A, {"state": "off"}, 400, 'state must be one of "ready", "drain" or "maintenance"'),
    ("PATCH", BACKEND_A, {"stat": "drain"}, 400, 'the body has "stat", it may have'),
    ("PATCH", BACKEND_A, ["drain"], 400, "the body must be an object with"),
    ("PATCH", "/api/v1/pools/web/backends/c", {"state": "drain"}, 404, 'no backend is named "c"'),
]


def test_what_makes_no_sense_is_refused_with_the_reason(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        for method, path, content, status, message in NO_SENSE:
            found, answer = admin.ask(method, path, content)
            assert (found, message in answer["error"]["message"]) == (status, True), answer


@pytest.mark.parametrize("workers", [1], indirect=True)
def test_a_method_that_is_not_there_is_refused_whatever_else_is_wrong(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        for method, path, allowed in (
            ("TRACE", "/api/v1/pools?=&", "GET, HEAD"),
            ("OPTIONS", BACKEND_A, "DELETE, GET, HEAD, PATCH"),
            ("GET", "/api/v1/reload", "POST"),
            ("PUT", "/metrics", "GET, HEAD"),
            ("POST", "/", "GET, HEAD"),
        ):
            connection = admin.connection()
            connection.request(method, path, headers={"Origin": "http://evil.example"})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Allow"]) == (405, allowed)
            assert json.loads(answer.read())["error"]["code"] == "method_not_allowed"
        # Of a path that there is not, a foreign page learns nothing.
        assert admin.ask("TRACE", "/api/v1/pool", headers={"Host": "evil.example"})[0] == 421


def test_pages_of_other_sites_and_foreign_names_are_refused(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        status, answer = admin.ask("GET", "/api/v1/status", headers={"Host": "evil.example"})
        assert (status, answer["error"]["code"]) == (421, "host_not_known")
        change = {"state": "drain"}
        status, answer = admin.ask("PATCH", BACKEND_A, change, {"Origin": "http://evil.example"})
        assert (status, answer["error"]["code"]) == (403, "foreign_origin")
        status, answer = admin.ask("PATCH", BACKEND_A, change, {"Content-Type": "text/plain"})
        assert (status, answer["error"]["code"]) == (415, "not_json")
        assert admin.get(BACKEND_A)["state"] == "up"


def test_tokens_say_what_a_client_may_do_and_are_read_again(stage: Stage) -> None:
    full, read_only = stage.folder / "full", stage.folder / "read-only"
    full.write_text(TOKEN)
    read_only.write_text(READ_ONLY)
    for path in (full, read_only):
        path.chmod(0o600)
    with stage.daemon(f'{LOOPBACK}\ntoken_file = "full"\nread_only_token_file = "read-only"') as daemon:
        assert Admin(daemon).ask("GET", "/api/v1/status")[0] == 401
        assert Admin(daemon, "wrong").ask("GET", "/api/v1/status")[0] == 401
        reader, operator = Admin(daemon, READ_ONLY), Admin(daemon, TOKEN)
        assert reader.get("/api/v1/status")["access"] == "read_only"
        assert operator.get("/api/v1/status")["access"] == "full"
        assert reader.ask("PATCH", BACKEND_A, {"state": "drain"})[0] == 403
        assert operator.ask("PATCH", BACKEND_A, {"state": "drain"})[0] == 200
        full.write_text(another := TOKEN[::-1])
        until(lambda: Admin(daemon, another).ask("GET", "/api/v1/status")[0] == 200, "the other token")
        assert operator.ask("GET", "/api/v1/status")[0] == 401
        assert TOKEN not in daemon.log
        assert another not in daemon.log


def test_clients_without_a_token_keep_nothing_of_the_admin_side(stage: Stage) -> None:
    token = stage.folder / "full"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with stage.daemon(f'{LOOPBACK}\ntoken_file = "full"') as daemon, ExitStack() as held:
        operator = Admin(daemon, TOKEN)
        for _ in range(MAX_CONNECTIONS + 1):
            held.enter_context(connect(operator.port))
        assert operator.ask("GET", "/api/v1/status")[0] == 200
        client = held.enter_context(connect(operator.port))
        client.sendall(
            b"PATCH " + BACKEND_A.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_unix_socket_is_for_its_owner_and_goes_with_the_balancer(stage: Stage) -> None:
    path = stage.folder / "admin.sock"
    with stage.daemon('listen = "unix:admin.sock"') as daemon:
        daemon.wait_for_log(r"admin listens on unix:")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        answer = subprocess.run(
            ["curl", "-sS", "--unix-socket", path, "http://localhost/api/v1/status"],
            capture_output=True,
            check=True,
            timeout=20,
        )
        assert json.loads(answer.stdout)["version"]
        assert daemon.stop() == 0
    assert not path.exists()


def test_an_address_that_is_taken_is_said_at_the_start(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        daemon = stage.daemon(f'listen = "{where}"', may_fail=True)
        process = daemon.launch()
        assert process.wait() == 1
        assert f"cannot listen on {where}: address already in use" in daemon.log


def test_clients_that_are_slow_are_ended_and_others_served(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        slow = [connect(admin.port) for _ in range(99)]
        try:
            for client in slow:
                client.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: lo")
            assert admin.get("/api/v1/status")["version"]
            slow += [connect(admin.port) for _ in range(2)]
            # The hundredth has a place, the one after that has none.
            with pytest.raises(ConnectionResetError):
                slow[-1].recv(1)
            assert ask(daemon.port) in (b"a", b"b")
            with pytest.raises(ConnectionResetError):
                slow[0].recv(1)
            assert admin.get("/api/v1/status")["version"]
        finally:
            for client in slow:
                client.close()


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_after_a_rolling_restart_nothing_counted_is_lost(stage: Stage) -> None:
    where = f"127.0.0.1:{free_port()}"
    with stage.daemon(f'listen = "{where}"') as daemon:
        for _ in range(8):
            ask(daemon.port)
        admin = Admin(daemon)
        before = {it["pid"] for it in admin.get("/api/v1/status")["processes"] if "worker" in it}
        daemon.send(signal.SIGUSR2)

        def others() -> bool:
            try:
                status, now = admin.ask("GET", "/api/v1/status")
            except OSError:
                return False  # One has closed the address, the other one has not taken it yet.
            return status == 200 and before.isdisjoint(process["pid"] for process in now["processes"])

        until(others, lambda: f"other processes\n{daemon.log}")
        assert admin.get("/api/v1/frontends/web")["counters"]["connections_total"] == 8


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_worker_that_does_not_answer_is_named(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        stopped = admin.get("/api/v1/status")["processes"][1]["pid"]
        os.kill(stopped, signal.SIGSTOP)
        try:
            status, answer = admin.ask("GET", "/api/v1/pools")
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert status == 503
        assert re.search("worker 1 has not answered for 2 s: ask again", answer["error"]["message"])
        until(lambda: admin.ask("GET", "/api/v1/pools")[0] == 200, "an answer again")
