"""Health checks of backends that speak TLS go through it, and fail where a connection would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from support.certificates import AN_HOUR_AGO, Authority
from support.daemon import Daemon
from support.nginx import Nginx
from support.tls_peers import configured, fetch, page, quoted, records_of, served

NAME = "web.example"
CHECKS = {
    "tcp": "",
    "tls": "",
    "http": 'path = "/health"',
    "expect": 'send = "GET / HTTP/1.0\\r\\n\\r\\n"\ncontains = "200 OK"',
}
"""Each with its keys."""

HEALTH = """
[pools.{check}.health]
check = "{check}"
interval = "1h"
timeout = "10s"
rise = 1
fall = 1
{keys}
"""

pytestmark = pytest.mark.requires("nginx")


@frozen
class Checked:
    """A balancer that has looked at two backends for each kind of check.

    :ivar good: the address of one.
    :ivar expired: that of another.
    """

    daemon: Daemon
    good: str
    expired: str


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, data_path: object) -> Iterator[Checked]:
    folder = tmp_path_factory.mktemp("tls-backend-checks")
    with ExitStack() as stack:
        good, expired = (stack.enter_context(server).address for server in _servers(folder))
        tls = f'ca = "root.pem"\nserver_name = "{NAME}"\n'
        pools = [
            served(check, quoted(expired, good), tls=tls, pool='send_proxy_protocol = "v2"')
            + HEALTH.format(check=check, keys=keys)
            for check, keys in CHECKS.items()
        ]
        yield Checked(stack.enter_context(Daemon(configured(pools), folder)), good, expired)


def _servers(folder: Path) -> list[AbstractContextManager[Nginx]]:
    authority = Authority.root()
    authority.write(folder / "root.pem")
    issued = (
        authority.issue(folder, "good", NAME),
        authority.issue(folder, "expired", NAME, not_after=AN_HOUR_AGO),
    )
    return [page(shown.certificate, shown.key, how="ssl proxy_protocol") for shown in issued]


@pytest.mark.parametrize("check", sorted(CHECKS.keys() - {"tcp"}))
def test_a_backend_whose_certificate_has_expired_is_down_and_the_other_serves(
    checked: Checked, check: str
) -> None:
    daemon = checked.daemon
    daemon.wait_for_log(f"pool {check}: backend {checked.expired} is down: TLS: certificate expired")
    daemon.wait_for_log(f"pool {check}: backend {checked.good} is up")
    assert [fetch(daemon.ports[check]) for _ in range(2)] == ["page", "page"]
    assert [record["attempts"] for record in records_of(daemon, check, 2)] == [1, 1]


def test_to_tcp_both_are_up(checked: Checked) -> None:
    for address in (checked.good, checked.expired):
        checked.daemon.wait_for_log(f"pool tcp: backend {address} is up")
