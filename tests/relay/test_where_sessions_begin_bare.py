"""Which sessions begin bare, and what becomes of a client whose session cannot begin at all."""

from __future__ import annotations

import errno
import os
from ipaddress import ip_network
from typing import Any
from unittest.mock import Mock, patch

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import capturedLogs

from support.memory_poller import MemoryPoller
from support.memory_socket import connected_pair
from support.pools import described
from support.scene import ONE, RETRY_ON_RESET, BareScene, Scene
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.bare_session import BareSession
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.wire.server_names import NameMap

CLIENT = ClientAddress(("198.51.100.7", 40000))


def begins_bare(scene: Scene) -> bool:
    """Let a client come, and tell whether its session begins bare."""
    scene.connect()
    (session,) = scene.frontend.registry.sessions
    return isinstance(session, BareSession)


def expects_header_of(network: str) -> Any:
    return lambda _: PrereadSettings(NetworkSet([ip_network(network)]))


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="plain"),
        pytest.param({"affinity": AffinityConfig(ttl=5.0)}, id="affinity"),
        pytest.param({"queue": 2, "balance": "peak_ewma"}, id="queue"),
        pytest.param({"send_proxy_protocol": "v2"}, id="header"),
        pytest.param({"settings": {"max_connection_age": 5.0, "connections": 1}}, id="limits"),
        pytest.param({"preread": expects_header_of("203.0.113.0/24")}, id="header of others"),
    ],
)
def test_those_that_need_no_more_than_two_sockets(how: dict[str, Any]) -> None:
    assert begins_bare(BareScene(**how))


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(RETRY_ON_RESET, id="another try after a reset"),
        pytest.param({"settings": {"bandwidth_per_connection": 100_000}}, id="bandwidth"),
        pytest.param({"settings": {"min_rate": 100}}, id="min_rate"),
        pytest.param({"members": [Backend(ONE), Backend("backend.example:80")]}, id="name"),
        pytest.param({"preread": expects_header_of("198.51.100.0/24")}, id="header"),
        pytest.param(
            {
                "preread": lambda pool: PrereadSettings(routes=NameMap([("a.example", pool)], deep=True)),
                "has_default": False,
            },
            id="routes",
        ),
    ],
)
def test_those_that_need_more_from_the_beginning(how: dict[str, Any]) -> None:
    assert not begins_bare(BareScene(**how))


def test_a_pool_that_speaks_tls_needs_more() -> None:
    assert not BareScene(tls=Mock()).frontend.context.begins_bare(CLIENT)


def test_on_the_portable_data_path_none_does() -> None:
    frontend = Scene().frontend
    _, sock = connected_pair()
    assert frontend.serve_bare(sock, CLIENT) is False  # type: ignore[arg-type]
    assert frontend.registry.sessions == set()


def test_none_does_from_the_moment_that_a_pool_has_a_name() -> None:
    scene = BareScene()
    assert begins_bare(scene)
    scene.leave()
    scene.pool.replace([ONE, "backend.example:80"])
    assert not begins_bare(scene)


@pytest.mark.parametrize("settings", [RETRY_ON_RESET, {"tls": Mock()}], ids=["retry on a reset", "TLS"])
def test_none_does_from_the_moment_that_its_pool_needs_more(settings: dict[str, Any]) -> None:
    scene = BareScene()
    context = scene.frontend.context
    assert context.begins_bare(CLIENT)
    scene.pool.prepare_as(described([ONE], "pool", **settings))()
    assert not context.begins_bare(CLIENT)


def test_a_dial_lasts_as_long_as_its_pool_says_by_now() -> None:
    scene = BareScene({ONE: "hangs"}, retries=0)
    scene.pool.prepare_as(described([ONE], "pool", connect_timeout=1.0, retries=0))()
    client = scene.connect()
    scene.advance(1.1)
    assert (client.saw, scene.ended) == ("fin", "connect_failed")


# A client whose session cannot begin


def limited(clock: Any) -> AdmissionControl:
    return AdmissionControl(Access(), LimitsConfig(connections_per_client=1), clock)


def test_one_that_is_not_admitted_is_reset() -> None:
    scene = BareScene(admission=limited)
    scene.connect(address=IPv4Address("TCP", "198.51.100.7", 1))
    client = scene.turned_away(address=IPv4Address("TCP", "198.51.100.7", 2))
    assert (client.saw, scene.inside) == ("reset", 1)
    scene.leave()
    assert scene.leftovers() == []


@pytest.mark.parametrize("admission", [None, limited])
def test_one_whose_socket_cannot_be_watched_is_counted(admission: Any) -> None:
    """``epoll_ctl`` finds no memory; the listener resets it."""
    scene = BareScene(admission=admission)
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with patch.object(MemoryPoller, "register", side_effect=error), pytest.raises(OSError, match="space"):
        scene.connect()
    stats = scene.frontend.stats
    assert (stats.setup_failures, stats.connections_total, scene.inside) == (1, 0, 0)
    assert scene.frontend.registry.sessions == set()


@pytest.mark.parametrize("phase", ["dialling", "relaying"])
def test_one_that_cannot_make_what_a_session_has_leaves_nothing_behind(phase: str) -> None:
    scene = BareScene({ONE: "hangs" if phase == "dialling" else "accepts"}, affinity=AffinityConfig(ttl=5.0))
    client = scene.connect(early=b"first")
    scene.run()
    flaw: Any = {"side_effect": MemoryError}
    with patch("tcpbalance.proxy.bare_session.Dialler", **flaw), capturedLogs():
        client.send(b"second")
        client.finish()
        scene.run()
        scene.advance(5.0)
    assert (client.saw, scene.ended) == ("reset", "internal_error")
    assert scene.leftovers() == []
