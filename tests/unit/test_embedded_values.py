"""What the file refuses is refused in Python too, when the part is made and not when a client comes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.task import Clock

from support.pools import a_pool, some_backends
from tcpbalance import (
    AccessConfig,
    AccessLog,
    Address,
    AffinityConfig,
    Backend,
    Balancer,
    CertificateConfig,
    CommandProbe,
    ExpectProbe,
    Fault,
    Frontend,
    FrontendFactory,
    FrontendTlsConfig,
    HealthConfig,
    HttpProbe,
    LimitsConfig,
    OutlierConfig,
    OverloadConfig,
    Pool,
    PoolTlsConfig,
    RebalanceConfig,
    ResolverConfig,
    SettingError,
    SocketConfig,
    SocketFile,
    StatusSet,
    TcpProbe,
    TimeoutsConfig,
)
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.addresses import Network
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import BackendConfig
from tcpbalance.config.quantities import Rate
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.source_hash import SourceHash

NAN, INF = float("nan"), float("inf")


def pool(**values: Any) -> object:
    return a_pool(some_backends(1), **values)


def front() -> Frontend:
    return Frontend("web", "127.0.0.1:0", a_pool(some_backends(1)))


def balancer(**values: Any) -> object:
    return Balancer(Clock(), [front()], data_path="portable", **values)


def refused(make: Callable[..., object], values: dict[str, Any]) -> SettingError:
    with pytest.raises(SettingError) as caught:
        make(**values)
    assert caught.value.fault is Fault.CONFIGURATION
    assert isinstance(caught.value, ValueError)
    return caught.value


TIMES_OF_A_POOL = pytest.mark.parametrize(
    "name", ["connect_timeout", "dial_timeout", "queue_timeout", "slow_start"]
)


@TIMES_OF_A_POOL
@pytest.mark.parametrize("given", ["3", True, b"1", -1.0, NAN, INF])
def test_a_time_that_is_none(name: str, given: object) -> None:
    assert str(refused(pool, {name: given})).startswith(f"pool web: {name} must be a duration such as ")


@TIMES_OF_A_POOL
def test_a_time_that_is_over_at_once(name: str) -> None:
    assert str(refused(pool, {name: 0.0})) == f"pool web: {name} must be longer than 0s, got 0s"


def test_a_pool_takes_times_as_the_file_does() -> None:
    made = a_pool(some_backends(1), connect_timeout="250ms", dial_timeout="20s")
    assert (made.connect_timeout, made.dial_timeout) == (0.25, 20.0)


@pytest.mark.parametrize("seconds", [-1.0, NAN, INF])
def test_a_grace_that_never_ends_or_ended_before(seconds: float) -> None:
    error = refused(balancer, {"shutdown_grace": seconds})
    assert str(error).startswith("balancer: shutdown_grace must be a duration such as ")
    assert str(error).endswith(f"got {seconds}")


def test_no_grace_at_all_is_allowed() -> None:
    assert balancer(shutdown_grace=0)


@pytest.mark.parametrize(
    ("make", "name", "value", "said"),
    [
        (pool, "retries", -1, "pool web: retries must be at least 0, got -1"),
        (pool, "retries", 1.5, "pool web: retries must be a whole number, got 1.5"),
        (AffinityConfig, "max_entries", 0, "max_entries must be at least 1, got 0"),
        (AffinityConfig, "max_entries", True, "max_entries must be a whole number, got true"),
        (AffinityConfig, "ipv4_prefix", 0, "ipv4_prefix must be 1 to 32, got 0"),
        (AffinityConfig, "ipv4_prefix", 33, "ipv4_prefix must be 1 to 32, got 33"),
        (AffinityConfig, "ipv6_prefix", 129, "ipv6_prefix must be 1 to 128, got 129"),
        (AffinityConfig, "by", "header", 'by must be one of "source_ip" or "cookie", got "header"'),
        (
            LimitsConfig,
            "bandwidth_per_connection",
            0,
            "bandwidth_per_connection must be at least 1B/s, got 0B/s",
        ),
        (TimeoutsConfig, "idle_timeout", 0, "idle_timeout must be longer than 0s, got 0s"),
        (TimeoutsConfig, "half_close_timeout", 0.0, "half_close_timeout must be longer than 0s, got 0s"),
        (TimeoutsConfig, "max_connection_age", "0s", "max_connection_age must be longer than 0s, got 0s"),
        (LimitsConfig, "connections", 0, "connections must be at least 1, got 0"),
        (
            LimitsConfig,
            "min_rate",
            0.5,
            'min_rate must be a bandwidth such as "10MiB/s", "500KiB/s" or "100B/s", got 0.5',
        ),
    ],
)
def test_a_count_out_of_range(make: Callable[..., object], name: str, value: object, said: str) -> None:
    assert str(refused(make, {name: value})) == said


@pytest.mark.parametrize("seconds", ["3", True, b"1", -1.0, NAN, INF])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (AffinityConfig, "ttl"),
        (OutlierConfig, "eject_for"),
        (LimitsConfig, "ban_for"),
        (SocketConfig, "keepalive"),
        (TimeoutsConfig, "idle_timeout"),
        (TimeoutsConfig, "half_close_timeout"),
        (TimeoutsConfig, "max_connection_age"),
    ],
)
def test_what_a_converter_refuses_is_named(make: Callable[..., object], name: str, seconds: object) -> None:
    assert str(refused(make, {name: seconds})).startswith(f"{name} must be a duration such as ")


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (HttpProbe, {"status": "9-1"}, 'status must be status codes from 200 to 599 such as "200"'),
        (HttpProbe, {"path": 5}, "path must be a string, got 5"),
        (CommandProbe, {"argv": ()}, "argv must begin with a program"),
        (ExpectProbe, {"contains": "a", "send": 5}, "send must be a string, got 5"),
        (FrontendTlsConfig, {"certificates": [], "alpn": [""]}, "alpn must be the name of a protocol"),
        (ResolverConfig, {"servers": ["ns.internal"]}, "servers must be the IP address of a name server"),
        (AccessConfig, {"allow": ["10.0.0.1/8"]}, "allow must be a network such as"),
        (AccessConfig, {"deny": "10.0.0.0/8"}, 'deny must be a list of networks, got "10.0.0.0/8"'),
        (OverloadConfig, {"descriptors": "90"}, "descriptors must be a percentage"),
        (PoolTlsConfig, {"server_name": "*.internal"}, "server_name must be a host name"),
    ],
)
def test_whatever_is_refused_is_named(make: Callable[..., object], values: dict[str, Any], said: str) -> None:
    assert str(refused(make, values)).startswith(said)


def test_a_rate_that_has_to_be_reached_and_cannot() -> None:
    error = refused(LimitsConfig, {"bandwidth_per_connection": 100, "min_rate": 100})
    assert str(error) == 'min_rate must be less than bandwidth_per_connection, 100B/s, got "100B/s"'


def test_less_time_for_a_dial_than_for_an_attempt() -> None:
    error = refused(pool, {"connect_timeout": 5.0, "dial_timeout": 4.5})
    assert str(error) == "pool web: dial_timeout must be at least connect_timeout, 5s, got 4500ms"


@pytest.mark.parametrize(
    "given", ["connect_failed", (), ("reset_before_answer",), ("connect_failed", "empty_response")]
)
def test_retries_on_something_else(given: Any) -> None:
    assert str(refused(pool, {"retry_on": given})).startswith(
        'pool web: retry_on must have "connect_failed"; retries = 0 makes no further attempt'
        if given in [(), ("reset_before_answer",)]
        else 'pool web: retry_on must be a list of "connect_failed" or "reset_before_answer", got '
    )


def test_no_limit_is_allowed() -> None:
    timeouts, limits = TimeoutsConfig(max_connection_age=None), LimitsConfig(connections=None)
    context = FrontendFactory(Clock(), a_pool(some_backends(1)), timeouts=timeouts, limits=limits).context
    assert (context.timeouts, context.limits, context.admission) == (timeouts, limits, None)


@pytest.mark.parametrize(
    "tables",
    [{"limits": LimitsConfig(connections_per_client=1)}, {"access": AccessConfig(deny_file=None)}],
)
def test_limits_and_lists_are_in_force(tables: dict[str, Any]) -> None:
    """Wherever they are given, without a further part."""
    assert FrontendFactory(Clock(), a_pool(some_backends(1)), **tables).context.admission is not None
    frontend = Frontend("web", "127.0.0.1:0", a_pool(some_backends(1)), **tables)
    edge = Balancer(Clock(), [frontend], data_path="portable")
    assert edge.factories["web"].context.admission is not None


@pytest.mark.parametrize(
    ("timeouts", "limits", "look_every"),
    [
        ({"idle_timeout": 100.0, "half_close_timeout": 80.0}, {}, 40.0),
        ({"idle_timeout": 60.0, "half_close_timeout": 80.0}, {}, 30.0),
        ({"idle_timeout": 100.0, "half_close_timeout": 80.0}, {"min_rate": 1}, 15.0),
        ({"idle_timeout": 10.0}, {"min_rate": 1}, 5.0),
    ],
)
def test_how_often_sessions_are_looked_at(
    timeouts: dict[str, Any], limits: dict[str, Any], look_every: float
) -> None:
    factory = FrontendFactory(
        Clock(),
        a_pool(some_backends(1)),
        timeouts=TimeoutsConfig(**timeouts),
        limits=LimitsConfig(**limits),
    )
    assert factory.context.look_every == look_every


def test_the_table_of_a_frontend_is_its_timeouts() -> None:
    config = FrontendConfig(listen=(Address.parse("127.0.0.1:0"),), pool="web", idle_timeout=5.0)
    assert isinstance(config, TimeoutsConfig)
    assert config.idle_timeout == 5.0


def test_an_overload_without_bounds() -> None:
    assert str(refused(OverloadConfig, {})) == 'overload has no effect without "memory" or "descriptors"'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"memory": 0}, "must be at least 1, got 0"),
        ({"descriptors": 0.0}, "must be 1% to 100%, got 0%"),
        ({"descriptors": 90}, "must be 1% to 100%, got 9000%"),
    ],
)
def test_a_bound_out_of_range(value: dict[str, Any], said: str) -> None:
    error = refused(OverloadConfig, value)
    assert str(error).endswith(said)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (HealthConfig, {"probe": TcpProbe(), "interval": "soon"}),
        (HealthConfig, {"probe": TcpProbe(), "interval": 0.0}),
        (HealthConfig, {"probe": TcpProbe(), "down_interval": -1.0}),
        (SocketConfig, {"receive_buffer": "64 kilobytes"}),
        (SocketConfig, {"receive_buffer": 0}),
        (SocketConfig, {"keepalive": True}),
        (PoolTlsConfig, {"server_name": "*.internal"}),
        (FrontendTlsConfig, {"certificates": []}),
        (FrontendTlsConfig, {"certificates": [CertificateConfig(cert="a.pem")], "alpn": [""]}),
        (HealthConfig, {"probe": TcpProbe(), "rise": 0}),
        (HealthConfig, {"probe": TcpProbe(), "fall": 0}),
        (HealthConfig, {"probe": TcpProbe(), "initial": "UP"}),
        (HealthConfig, {"probe": TcpProbe(), "initial": ""}),
        (HealthConfig, {"probe": TcpProbe(), "rise": True}),
        (HealthConfig, {"probe": TcpProbe(), "rise": "2"}),
        (HealthConfig, {"probe": TcpProbe(), "fall": 2.5}),
        (HealthConfig, {"probe": TcpProbe(), "port": "80"}),
        (HealthConfig, {"probe": TcpProbe(), "initial": "unknown"}),
        (HealthConfig, {"probe": TcpProbe(), "on_down": "close"}),
        (HealthConfig, {"probe": TcpProbe(), "send_proxy_protocol": "v3"}),
        (HealthConfig, {"probe": TcpProbe(), "address": "a host"}),
        (ResolverConfig, {"engine": "getaddrinfo"}),
        (SocketConfig, {"fast_open": True}),
        (SocketConfig, {"congestion": 5}),
        (OverloadConfig, {"descriptors": "90"}),
        (FrontendTlsConfig, {"certificates": [CertificateConfig(cert="a.pem")], "minimum_version": "1.1"}),
        (HttpProbe, {"status": "9-1"}),
        (StatusSet.parse, {"value": "9-1"}),
        (CommandProbe, {"argv": ()}),
        (Backend, {"address": "10.0.0.1"}),
        (Frontend, {"name": "web", "listen": "8080", "pool": None}),
    ],
)
def test_what_a_table_would_be_refused_for(make: Callable[..., object], values: dict[str, Any]) -> None:
    assert str(refused(make, values))


def test_plain_values_become_what_the_file_makes_of_them() -> None:
    health = HealthConfig(probe=TcpProbe(), interval=0.5, timeout="250ms", down_interval="5s")
    assert (health.interval, health.timeout, health.down_interval) == (0.5, 0.25, 5.0)
    socket = SocketConfig(receive_buffer="64KiB", send_buffer=1024, keepalive=60)
    assert (socket.receive_buffer, socket.send_buffer, socket.keepalive) == (65536, 1024, 60.0)
    assert health.address is None
    assert HealthConfig(probe=TcpProbe(), address="WEB.internal").address == "web.internal"
    assert OverloadConfig(descriptors="90%").descriptors == OverloadConfig(descriptors=0.9).descriptors == 0.9
    limits = LimitsConfig(
        connect_rate_per_client=0.5, bandwidth_per_connection="1KiB/s", ban_after=1, ban_for="1m"
    )
    assert limits.connect_rate_per_client == Rate(0.5)
    assert LimitsConfig(connect_rate_per_client="30/m").connect_rate_per_client == Rate(30, 60.0)
    assert (limits.bandwidth_per_connection, limits.ban_for) == (1024, 60.0)
    access = AccessConfig(
        allow=["10.0.0.0/8", ip_network("10.1.0.0/16")],
        deny=[Network.parse("10.9.0.0/16")],
        deny_file="a.txt",
    )
    assert [str(network) for network in access.allow] == ["10.0.0.0/8", "10.1.0.0/16"]
    assert [str(network) for network in access.deny] == ["10.9.0.0/16"]
    assert OutlierConfig(max_ejected=0.25) == OutlierConfig(max_ejected="25%")
    assert 204 in HttpProbe(status="200-204").status
    assert PoolTlsConfig(server_name="WEB.internal").server_name == "web.internal"
    tls = FrontendTlsConfig(certificates=[CertificateConfig(cert="a.pem")], alpn=["h2"])
    assert (len(tls.certificates), tls.alpn) == (1, ("h2",))


def test_an_address_made_by_hand_of_an_endpoint_string() -> None:
    error = refused(Frontend, {"name": "web", "listen": Address("tcp", 8080), "pool": pool()})
    wanted = 'listen must be host:port, such as "0.0.0.0:8080", not an endpoint string'
    assert str(error) == f"{wanted}, got tcp:8080"


@pytest.mark.parametrize("mode", ["0660", 660 << 8, -1, True, 0o1660])
def test_a_mode_that_no_file_has(mode: object) -> None:
    error = refused(SocketFile, {"mode": mode})
    assert str(error) == f"socket file: mode must be permissions from 0 to 0o777, such as 0o660, got {mode!r}"


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (
            pool,
            {"bounded_load": 1.25},
            'pool web: bounded_load has no effect without balance = "source_hash"',
        ),
        (
            pool,
            {"rebalance": RebalanceConfig(rate=5), "balance": PeakEwmaPolicy},
            'pool web: rebalance has no effect with balance = "peak_ewma", leave out one of them',
        ),
        (
            pool,
            {"rebalance": RebalanceConfig(rate=5), "balance": SourceHash},
            'pool web: rebalance has no effect with balance = "source_hash", leave out one of them',
        ),
        (pool, {"pass_tlvs": {2}}, 'pool web: pass_tlvs has no effect without send_proxy_protocol = "v2"'),
        (
            Frontend,
            {"name": "web", "listen": "127.0.0.1:0", "pool": None, "socket_file": SocketFile(mode=0o660)},
            "frontend web: socket_file has no effect without a unix socket in listen",
        ),
        (
            Frontend,
            {"name": "web", "listen": "tcp:0", "pool": pool(), "backlog": 64},
            "frontend web: backlog has no effect without an address in listen, give it to the endpoint",
        ),
        (
            Frontend,
            {
                "name": "web",
                "listen": "127.0.0.1:0",
                "pool": pool(),
                "admission": AdmissionControl(Access(), LimitsConfig(), Clock().seconds),
                "access": AccessConfig(deny_file="/etc/tcpbalance/deny"),
            },
            "frontend web: access has no effect with admission, leave out one of them",
        ),
    ],
)
def test_what_has_no_effect(make: Callable[..., object], values: dict[str, Any], said: str) -> None:
    assert str(refused(make, values)).startswith(said)


def test_a_data_path_that_nobody_knows() -> None:
    error = refused(Balancer, {"reactor": Clock(), "frontends": [front()], "data_path": "fast"})
    assert str(error) == 'balancer: data_path must be one of "auto" or "portable", got "fast"'


def test_half_an_address_for_the_checks_of_a_unix_socket() -> None:
    health = HealthConfig(probe=TcpProbe(), port=8081)
    error = refused(a_pool, {"backends": [Backend("unix:/run/web.sock")], "health": health})
    assert str(error) == "health: unix socket /run/web.sock can be checked elsewhere by host and port only"


def test_a_frontend_that_leads_nowhere() -> None:
    error = refused(Frontend, {"name": "web", "listen": "127.0.0.1:0", "pool": None})
    assert str(error) == "frontend web: must have a pool, or preread with routes to pools"


def test_a_backlog_of_nothing() -> None:
    error = refused(Frontend, {"name": "web", "listen": "127.0.0.1:0", "pool": pool(), "backlog": 0})
    assert str(error) == "frontend web: backlog must be 1 to 65535, got 0"


def test_a_balancer_of_nothing() -> None:
    error = refused(Balancer, {"reactor": Clock(), "frontends": [], "data_path": "portable"})
    assert str(error) == "balancer: must have at least one frontend"


def test_a_frontend_without_an_address() -> None:
    error = refused(Frontend, {"name": "web", "listen": [], "pool": pool()})
    assert str(error) == 'frontend web: listen must have at least one address, such as "0.0.0.0:8080"'


def test_two_frontends_of_one_name() -> None:
    web = front()
    with pytest.raises(
        SettingError, match=r"^balancer: frontends must have different names, got web 2 times$"
    ):
        Balancer(Clock(), [web, web], data_path="portable")


def test_a_form_of_the_access_log_that_nobody_knows() -> None:
    with pytest.raises(
        SettingError, match=r'^access log -: format must be one of "text", "json" or "combined", got "xml"$'
    ):
        AccessLog("-", "xml", Clock())


V2: dict[str, Any] = {"send_proxy_protocol": "v2"}


def test_types_of_tlvs_are_read_as_in_the_file() -> None:
    assert a_pool(some_backends(1), **V2, pass_tlvs=["alpn", 0xE0]).pass_tlvs == {1, 0xE0}
    assert a_pool(some_backends(1), **V2, pass_tlvs=(kind for kind in (1, 2))).pass_tlvs == {1, 2}


@pytest.mark.parametrize("given", [[9999], [0], [True], ["alpm"]])
def test_a_type_that_no_tlv_has(given: object) -> None:
    assert str(refused(pool, {**V2, "pass_tlvs": given})).startswith('pool web: pass_tlvs must be "alpn", ')


@pytest.mark.parametrize("given", ["alpn", 1, None])
def test_types_of_tlvs_that_are_no_list(given: object) -> None:
    error = refused(pool, {**V2, "pass_tlvs": given})
    assert str(error).startswith("pool web: pass_tlvs must be a list of names or numbers of TLVs, got ")


@pytest.mark.parametrize("given", ["not a host!", 5, "*.internal", ""])
def test_a_server_name_that_is_none(given: object) -> None:
    error = refused(Backend, {"address": "10.0.0.1:80", "server_name": given})
    assert str(error).startswith("backend 10.0.0.1:80: server_name must be a host name such as ")


def test_a_server_name_has_one_spelling() -> None:
    assert Backend("10.0.0.1:80", server_name="WEB.internal").server_name == "web.internal"


def named_pool(name: Any) -> object:
    return Pool(name, some_backends(1))


def named_frontend(name: Any) -> object:
    return Frontend(name, "127.0.0.1:0", a_pool(some_backends(1)))


@pytest.mark.parametrize("name", ["a\nb", 5, "", " ", None])
@pytest.mark.parametrize(("make", "thing"), [(named_pool, "pool"), (named_frontend, "frontend")])
def test_a_name_that_no_log_can_show(make: Callable[..., object], thing: str, name: object) -> None:
    error = refused(make, {"name": name})
    assert str(error).startswith(f"{thing}: name must be a name of printable characters, got ")
    assert "\n" not in str(error)


def test_a_backend_whose_name_no_log_can_show() -> None:
    error = refused(Backend, {"address": "10.0.0.1:80", "name": "a\nb"})
    assert str(error).endswith('name must be a name of printable characters, got "a\\nb"')
    assert "\n" not in str(error)


def test_addresses_as_texts() -> None:
    assert FrontendConfig(listen=("127.0.0.1:80",), pool="x").listen == (Address("127.0.0.1", 80),)
    assert FrontendConfig(listen="127.0.0.1:80", pool="x").listen == (Address("127.0.0.1", 80),)
    assert BackendConfig(address="127.0.0.1:80").address == Address("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (FrontendConfig, {"listen": 8080, "pool": "x"}, "listen must be a list of addresses, got 8080"),
        (BackendConfig, {"address": 8080}, "address must be an address such as "),
        (AccessConfig, {"allow": None}, "allow must be a list of networks, got None"),
        (ResolverConfig, {"servers": 5}, "servers must be a list of name servers, got 5"),
        (pool, {"affinity": {}}, "pool web: affinity must be of class AffinityConfig or None, got a table"),
        (pool, {"outlier": {}}, "pool web: outlier must be of class OutlierConfig or None, got a table"),
        (pool, {"rebalance": 5}, "pool web: rebalance must be of class RebalanceConfig or None, got 5"),
    ],
)
def test_values_of_another_type(make: Callable[..., object], values: dict[str, Any], said: str) -> None:
    assert str(refused(make, values)).startswith(said)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"listen": 8080}, "listen must be an address, an endpoint or a list of these, got 8080"),
        ({"listen": None}, "listen must be an address, an endpoint or a list of these, got None"),
        ({"pool": "p"}, 'frontend web: pool must be of class Pool or None, got "p"'),
        ({"timeouts": {}}, "frontend web: timeouts must be of class TimeoutsConfig, got a table"),
        ({"limits": {}}, "frontend web: limits must be of class LimitsConfig, got a table"),
        ({"access": {}}, "frontend web: access must be of class AccessConfig or None, got a table"),
        ({"socket": {}}, "frontend web: socket must be of class SocketConfig, got a table"),
    ],
)
def test_parts_of_a_frontend_of_another_type(values: dict[str, Any], said: str) -> None:
    given = {"name": "web", "listen": "127.0.0.1:0", "pool": pool(), **values}
    assert str(refused(Frontend, given)) == said
