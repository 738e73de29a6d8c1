"""curl keeps cookies in its jar, nginx serves: which backend a cookie leads to, and for how long."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.nginx import Nginx, nginx
from support.process import run
from support.programs import require
from support.waiting import until

CONFIG = """
workers = {workers}

[access_log]
path = "access.log"
format = "json"

[frontends.web]
mode = "http"
listen = "127.0.0.1:{port}"
pool = "web"

[pools.web]
backends = [
    {{ name = "a", address = "{a}", state = "{state_of_a}" }},
    {{ name = "b", address = "{b}" }},
]

[pools.web.affinity]
by = "cookie"
{cookie}
"""

SECRET = 'cookie = { secret = "0123456789abcdef" }'

pytestmark = pytest.mark.requires("nginx", "curl")


@pytest.fixture(scope="module")
def backends() -> Iterator[list[Nginx]]:
    with nginx("a", "b", answer="$server_addr:$server_port $http_cookie") as servers:
        yield servers


class Site:
    """A balancer before two backends, and a browser that visits it from one address after another."""

    def __init__(self, folder: Path, backends: list[Nginx], workers: int, cookie: str = "") -> None:
        self._folder = folder
        self._names = {backend.address: backend.name for backend in backends}
        self._values = {backend.name: backend.address for backend in backends}
        self._workers, self._cookie = workers, cookie
        self._visits = 0
        self.jar = folder / "cookies"
        self.daemon = self.new_daemon()

    def new_daemon(self) -> Daemon:
        return Daemon(self._config("ready", 0), self._folder)

    def _config(self, state_of_a: str, port: int) -> str:
        values = self._values | {"state_of_a": state_of_a, "cookie": self._cookie, "port": str(port)}
        return CONFIG.format(workers=self._workers, **values)

    def reload(self, state_of_a: str) -> None:
        before = self.daemon.log.count("] reloaded ")
        self.daemon.config_file.write_text(self._config(state_of_a, self.daemon.port))
        self.daemon.send(signal.SIGHUP)
        until(lambda: self.daemon.log.count("] reloaded ") > before, lambda: f"reload\n{self.daemon.log}")

    def visit(self, *arguments: str | Path) -> tuple[str, str]:
        """Give the backend that has answered, and the cookies that it got."""
        self._visits += 1
        (curl,) = require("curl")
        source = f"127.0.4.{self._visits % 250 + 1}"
        where = f"http://127.0.0.1:{self.daemon.port}/"
        answer = run([curl, "-sS", "--max-time", "30", "--interface", source, *arguments, where])
        address, _, cookies = answer.strip().partition(" ")
        return self._names[address], cookies

    def browse(self) -> str:
        """Visit it with the jar, and give the backend."""
        return self.visit("-b", self.jar, "-c", self.jar)[0]

    def cookie(self) -> str:
        (found,) = re.findall(r"\ttcpbalance_[0-9a-f]{8}\t(\S+)$", self.jar.read_text(), re.MULTILINE)
        return str(found)


def test_a_jar_leads_to_one_backend_from_any_address_and_in_any_worker(
    tmp_path: Path, backends: list[Nginx], workers: int
) -> None:
    site = Site(tmp_path, backends, workers)
    with site.daemon:
        home, value = site.browse(), ""
        for _ in range(8):
            value = value or site.cookie()
            assert (site.browse(), site.cookie()) == (home, value)
        assert {site.visit()[0] for _ in range(8)} == {"a", "b"}
        assert "127.0.0.1" not in value


def test_backends_get_cookies_as_they_are(tmp_path: Path, backends: list[Nginx]) -> None:
    site = Site(tmp_path, backends, 1)
    with site.daemon:
        site.browse()
        name = re.search(r"tcpbalance_[0-9a-f]{8}", site.jar.read_text())
        assert name is not None
        sent = f'a="1 2";b; {name[0]}={site.cookie()} ;c=3'
        assert site.visit("-H", f"Cookie: {sent}")[1] == sent


def test_a_backend_that_drains_keeps_its_visitors_and_gets_no_others(
    tmp_path: Path, backends: list[Nginx], workers: int
) -> None:
    site = Site(tmp_path, backends, workers)
    with site.daemon:
        while site.browse() != "a":
            site.jar.unlink()
        site.reload("drain")
        assert {site.browse() for _ in range(4)} == {"a"}
        assert {site.visit()[0] for _ in range(6)} == {"b"}
        site.reload("maintenance")
        assert {site.browse() for _ in range(4)} == {"b"}
        site.reload("ready")
        assert {site.browse() for _ in range(4)} == {"a"}


@pytest.mark.parametrize("cookie", ["", SECRET], ids=["no secret", "a secret"])
def test_with_a_secret_a_restart_changes_nothing(tmp_path: Path, backends: list[Nginx], cookie: str) -> None:
    site = Site(tmp_path, backends, 1, cookie)
    with site.daemon:
        home, value = site.browse(), site.cookie()
    site.daemon = site.new_daemon()
    with site.daemon:
        again = site.browse()
        assert (site.cookie() == value) is bool(cookie)
        assert again == home or not cookie


def test_what_is_forged_counts_like_nothing(tmp_path: Path, backends: list[Nginx]) -> None:
    site = Site(tmp_path, backends, 1)
    with site.daemon:
        site.browse()
        good = site.cookie()
        name = re.search(r"tcpbalance_[0-9a-f]{8}", site.jar.read_text())
        assert name is not None
        for forged in ("0" * 16, good[:-1], f"g{good[1:]}", f"{good}{good}", "%s" * 99):
            found = {site.visit("-H", f"Cookie: {name[0]}={forged}")[0] for _ in range(2)}
            assert found == {"a", "b"}, forged
