"""Affinity of a balancer that runs: seen and forgotten by its admin side."""

from __future__ import annotations

from typing import Any

from support.admin import Admin, Stage
from support.clients import ask
from support.waiting import until

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


def test_without_affinity_there_is_nothing(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.get(AFFINITY) == {"affinity": [], "next": None}
        assert admin.get("/api/v1/pools/web")["affinity"] is None
        assert admin.ask("DELETE", f"{AFFINITY}?client=127.0.0.1", {})[1]["forgotten"] == 0
        for method, query, status in [
            ("GET", "pool=wep", 404),
            ("DELETE", "backend=c", 404),
            ("DELETE", "", 400),
            ("GET", "client=x", 400),
        ]:
            content: object = None if method == "GET" else {}
            assert admin.ask(method, f"{AFFINITY}?{query}", content)[0] == status
