"""Balancers with an admin side, and a client that asks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from support.daemon import Daemon
from support.peers import Peer

CONFIG_WITH_ADMIN = """
workers = {workers}
[admin]
{admin}
[access_log]
path = "access.log"
format = "json"
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
[pools.web]
backends = [{{ name = "a", address = "{a}" }}, {{ name = "b", address = "{b}" }}]
{more}
"""

LOOPBACK = 'listen = "127.0.0.1:0"'
"""Keys of `[admin]`."""

BACKEND_A = "/api/v1/pools/web/backends/a"


class Admin:
    """Asks the admin side.

    :param daemon: says in its log where that listens.
    :param token: that each request brings.
    """

    def __init__(self, daemon: Daemon, token: str | None = None) -> None:
        host, _, port = daemon.wait_for_log(r"admin listens on (\S+)\n")[1].rpartition(":")
        self.port = int(port)
        self._host = host
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def ask(
        self, method: str, path: str, content: object = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, Any]:
        """Ask, and give the status and what JSON was answered."""
        connection = self.connection()
        body = None if content is None else json.dumps(content)
        more = {} if content is None else {"Content-Type": "application/json"}
        connection.request(method, path, body, {**self._headers, **more, **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def connection(self) -> HTTPConnection:
        """Give a connection that is not open yet."""
        return HTTPConnection(self._host, self.port, timeout=20)

    def get(self, path: str) -> Any:
        """Ask for something that there is."""
        status, content = self.ask("GET", path)
        assert status == 200, content
        return content


class Stage:
    """Two backends that answer with their names, and balancers in front of them.

    :ivar a: one backend, `b` the other one.
    """

    def __init__(self, folder: Path, workers: int, a: Peer, b: Peer) -> None:
        self.folder = folder
        self.a, self.b = a, b
        self._workers = workers

    def daemon(self, admin: str = LOOPBACK, more: str = "", **options: Any) -> Daemon:
        """Make a balancer.

        :param admin: the keys of its table `[admin]`.
        :param more: keys of the pool, and tables.
        """
        return Daemon(self.config(admin, more), self.folder, **options)

    def config(self, admin: str = LOOPBACK, more: str = "") -> str:
        """Give the configuration of such a balancer."""
        addresses = {"a": self.a.address, "b": self.b.address}
        return CONFIG_WITH_ADMIN.format(workers=self._workers, admin=admin, more=more, **addresses)
