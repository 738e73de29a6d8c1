"""Whatever client, destination, operator and threads do, and in whatever order: bytes arrive in order, only
with the right password, and afterwards nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.http_scene import HTTP_SCENES
from support.network import no_logged_failure
from support.threads import Threads
from support.users import proxy_authorization, users_file
from tcpbalance.admission.users_file import UsersFile
from tcpbalance.config.destinations import Destination
from tcpbalance.http.connect.destinations import Destinations
from tcpbalance.http.connect.settings import ConnectSettings
from tcpbalance.proxy.reasons import EndReason

INSIDE = "10.0.9.9:5432"
ANSWERS = (b"HTTP/1.1 200 Connection established", b"HTTP/1.1 4", b"HTTP/1.1 5")


class Stage:
    """A client that asks for a tunnel, and a destination that takes its time."""

    def __init__(self, kind: Any, users: UsersFile, password: bytes, early: bytes) -> None:
        self.threads = Threads()
        destinations = Destinations([Destination.parse(INSIDE)], is_own=lambda ip: False)
        connect = ConnectSettings(destinations, users=users, timeout=3.0)
        self.scene = kind(http={"connect": connect}, in_thread=self.threads)
        self.inside = self.scene.network.backend(INSIDE, "hangs")
        request = b"CONNECT %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (
            INSIDE.encode(),
            proxy_authorization(password=password),
        )
        self.client = self.scene.connect(request + early)
        self.sent = early
        self.actions: dict[str, Callable[[], object]] = {
            "client sends": self.client_sends,
            "client finishes": self.client.finish,
            "client resets": self.client.reset,
            "destination accepts": lambda: setattr(self.inside, "behaviour", "accepts"),
            "destination refuses": lambda: setattr(self.inside, "behaviour", "refuses"),
            "destination sends": lambda: self.far("send", b"answer"),
            "destination finishes": lambda: self.far("finish"),
            "destination resets": lambda: self.far("reset"),
            "threads end": self.threads.run,
            "a second passes": lambda: self.scene.advance(1.0),
            "much time passes": lambda: self.scene.advance(100.0),
            "the operator ends it": self.end,
            "no more clients are taken": self.scene.frontend.stopFactory,
        }

    def client_sends(self) -> None:
        if not self.client.finished and self.client.saw != "reset":
            self.client.send(b"%d" % (len(self.sent) % 10))
            self.sent += b"%d" % (len(self.sent) % 10)

    def far(self, what: str, *data: bytes) -> None:
        for connection in self.inside.connections:
            if not connection.finished and connection.saw != "reset":
                getattr(connection, what)(*data)

    def end(self) -> None:
        self.scene.frontend.registry.end_sessions(EndReason.ENDED_BY_OPERATOR)

    def check(self, is_right: bool) -> None:
        """Hold what has come against what was sent, and see that all is given back."""
        for connection in self.inside.connections:
            assert is_right
            assert self.sent.startswith(connection.received)
        assert not self.client.received or self.client.received.startswith(ANSWERS)
        self.threads.run()
        for connection in (self.client, *self.inside.connections):
            connection.reset()
        self.scene.leave()
        assert self.scene.leftovers() == []
        assert len(self.scene.requests) == 1


NAMES = (
    "client sends",
    "client finishes",
    "client resets",
    "destination accepts",
    "destination refuses",
    "destination sends",
    "destination finishes",
    "destination resets",
    "threads end",
    "a second passes",
    "much time passes",
    "the operator ends it",
    "no more clients are taken",
)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(HTTP_SCENES),
    events=st.lists(st.sampled_from(NAMES), max_size=12),
    is_right=st.booleans(),
    early=st.sampled_from([b"", b"0"]),
)
def test_any_order_of_events(
    tmp_path_factory: pytest.TempPathFactory, kind: Any, events: list[str], is_right: bool, early: bytes
) -> None:
    users = UsersFile(str(users_file(tmp_path_factory.getbasetemp())))
    with no_logged_failure():
        stage = Stage(kind, users, b"open sesame" if is_right else b"guess", early)
        for event in events:
            stage.actions[event]()
            stage.scene.run()
        stage.check(is_right)
