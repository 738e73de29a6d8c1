"""Affinity of a balancer that runs: seen and forgotten by its admin side."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address
from typing import Any

from support.admin import Admin, Stage
from support.clients import ask
from support.waiting import until
from tcpbalance.workers.owner import owners

AFFINITY = "/api/v1/affinity"
STICKY = 'affinity = { ttl = "10m" }'
CLIENTS = [f"127.0.0.{number}" for number in range(2, 12)]


def where(admin: Admin, query: str = "") -> dict[str, str]:
    """Fetch all pages: each client with its backend."""
    found: dict[str, str] = {}
    more: str | None = ""
    while more is not None:
        answer: Any = admin.get(f"{AFFINITY}?limit=3{query}{more}")
        found.update((entry["client"], entry["backend"]) for entry in answer["affinity"])
        more = None if answer["next"] is None else f"&after={answer['next']}"
    return found


def test_each_client_is_listed_with_its_backend(stage: Stage) -> None:
    with stage.daemon(more=STICKY) as daemon:
        admin = Admin(daemon)
        served = {client: ask(daemon.port, source=client).decode() for client in CLIENTS}
        until(lambda: where(admin) == served, lambda: f"{served}, not {where(admin)}")
        assert admin.get("/api/v1/pools/web")["affinity"] == len(CLIENTS)
        assert where(admin, "&backend=a") == {it: name for it, name in served.items() if name == "a"}
        (entry,) = admin.get(f"{AFFINITY}?pool=web&client={CLIENTS[0]}")["affinity"]
        assert (entry["pool"], entry["client"], entry["connected"]) == ("web", CLIENTS[0], False)
        assert 590 < entry["seconds"] <= 600


def test_clients_that_are_forgotten_are_served_anew_by_any_backend(stage: Stage) -> None:
    with stage.daemon(more=STICKY) as daemon:
        admin = Admin(daemon)
        served = {client: ask(daemon.port, source=client).decode() for client in CLIENTS}
        until(lambda: where(admin) == served, "all clients")
        of_a = [client for client in CLIENTS if served[client] == "a"]
        status, answer = admin.ask("DELETE", f"{AFFINITY}?pool=web&client={of_a[0]}", {})
        assert (status, answer) == (200, {"forgotten": 1, "unanswered": []})
        daemon.wait_for_log(rf"forgets the affinity of pool web, client {of_a[0]}: done, 1 client\n")
        assert where(admin) == {it: name for it, name in served.items() if it != of_a[0]}

        # Nothing but the affinity of the others keeps them there.
        assert admin.ask("DELETE", f"{AFFINITY}?backend=a", {})[1]["forgotten"] == len(of_a) - 1
        assert set(where(admin).values()) == {"b"}
        of_b = [client for client in CLIENTS if served[client] == "b"]
        assert {ask(daemon.port, source=client) for client in of_b} == {b"b"}

        def forget_and_come() -> bool:
            admin.ask("DELETE", f"{AFFINITY}?client={of_a[0]}", {})
            return ask(daemon.port, source=of_a[0]) == b"b"

        until(forget_and_come, "a client that is served by another backend")
        until(lambda: where(admin).get(of_a[0]) == "b", "its new backend")


def shown(admin: Admin) -> dict[str, int]:
    """Read what `/metrics` says of affinity, by the names without their prefix."""
    connection = admin.connection()
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    begin, pool = "tcpbalance_pool_affinity_", '{pool="web"}'
    found = (line.removeprefix(begin).split(" ") for line in lines if line.startswith(begin))
    return {name.removesuffix(pool): int(value) for name, value in found}


def test_hits_and_size_are_counted(stage: Stage) -> None:
    with stage.daemon(more=STICKY) as daemon:
        admin = Admin(daemon)
        assert shown(admin) == {"entries": 0, "hits_total": 0, "evictions_total": 0}
        for _ in range(3):
            for client in CLIENTS:
                ask(daemon.port, source=client)
        wanted = {"entries": len(CLIENTS), "hits_total": 2 * len(CLIENTS), "evictions_total": 0}
        until(lambda: shown(admin) == wanted, lambda: f"{wanted}, not {shown(admin)}")
        counters = admin.get("/api/v1/pools/web")["counters"]
        assert (counters["affinity_hits"], counters["affinity_evictions"]) == (2 * len(CLIENTS), 0)


def test_evictions_are_counted(stage: Stage, workers: int) -> None:
    with stage.daemon(more='affinity = { ttl = "10m", max_entries = 2 }') as daemon:
        admin = Admin(daemon)
        for client in CLIENTS:
            ask(daemon.port, source=client)
        # Each worker has a table of its own; the supervisor's has clients of all.
        tables = Counter(owners([ip_address(client).packed for client in CLIENTS], workers))
        evicted = sum(max(0, count - 2) for count in tables.values())
        assert evicted > 0
        wanted = {"entries": 2, "hits_total": 0, "evictions_total": evicted}
        until(lambda: shown(admin) == wanted, lambda: f"{wanted}, not {shown(admin)}")


def test_without_affinity_there_is_nothing(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.get(AFFINITY) == {"affinity": [], "next": None}
        assert admin.get("/api/v1/pools/web")["affinity"] is None
        assert "entries" not in shown(admin)
        assert admin.ask("DELETE", f"{AFFINITY}?client=127.0.0.1", {})[1]["forgotten"] == 0
        for method, query, status in [
            ("GET", "pool=wep", 404),
            ("DELETE", "backend=c", 404),
            ("DELETE", "", 400),
            ("GET", "client=x", 400),
        ]:
            content: object = None if method == "GET" else {}
            assert admin.ask(method, f"{AFFINITY}?{query}", content)[0] == status
