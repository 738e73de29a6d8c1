"""Values, keys and combinations that a configuration may not have, each with its line and mend."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from support.configs import SMALLEST, backends, frontend, pool, problems


def on_unix(keys: str) -> str:
    return frontend(keys).replace('"0.0.0.0:5432"', '["unix:db.sock", "0.0.0.0:5432"]')


MAPPED = str(ip_address("::ffff:127.0.0.1"))
"""The same from CPython 3.13 on, ``::ffff:7f00:1`` before."""

_NOT_A_MODE = '4: frontends.db.listen_mode: must be the mode of a file in octal, such as "0660", got '


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (frontend("listen_ = 1"), '4: frontends.db.listen_: unknown key, did you mean "listen"?'),
        (frontend("mode = 1"), '4: frontends.db.mode: must be one of "tcp" or "http", got 1'),
        (
            frontend('listen_mode = "0660"'),
            "4: frontends.db.listen_mode: has no effect without a unix socket in listen",
        ),
        (
            frontend('listen_user = "root"'),
            "4: frontends.db.listen_user: has no effect without a unix socket in listen",
        ),
        (
            frontend('listen_group = "root"'),
            "4: frontends.db.listen_group: has no effect without a unix socket in listen",
        ),
        (on_unix("listen_mode = 660"), _NOT_A_MODE + "660"),
        (frontend("listen_mode = 660"), _NOT_A_MODE + "660"),
        (on_unix('listen_mode = "rw-rw----"'), _NOT_A_MODE + '"rw-rw----"'),
        (on_unix('listen_mode = "0668"'), _NOT_A_MODE + '"0668"'),
        (on_unix('listen_mode = "4755"'), _NOT_A_MODE + '"4755"'),
        (
            on_unix('listen_user = "no such user"'),
            '4: frontends.db.listen_user: must be the name of a user on this machine, got "no such user"',
        ),
        (
            on_unix("listen_group = 0"),
            "4: frontends.db.listen_group: must be the name of a group on this machine, got 0",
        ),
        (frontend("backlog = 0"), "4: frontends.db.backlog: must be 1 to 65535, got 0"),
        (frontend("backlog = 1.0"), "4: frontends.db.backlog: must be a whole number, got 1.0"),
        (frontend('backlog = "1"'), '4: frontends.db.backlog: must be a whole number, got "1"'),
        (frontend('idle_timeout = "0s"'), "4: frontends.db.idle_timeout: must be longer than 0s, got 0s"),
        (frontend("socket = 1"), "4: frontends.db.socket: must be a table, got 1"),
        (
            frontend('socket.max_segment = "1MiB"'),
            "4: frontends.db.socket.max_segment: must be 88 to 32767, got 1MiB",
        ),
        (
            frontend("socket.keepalive = 0.5"),
            "4: frontends.db.socket.keepalive: must be 1s to 32767s, got 500ms",
        ),
        (
            frontend('socket.congestion = "b b"'),
            (
                "4: frontends.db.socket.congestion: must be the name of a congestion control "
                'such as "bbr", got "b b"'
            ),
        ),
        (SMALLEST.replace('"0.0.0.0:5432"', "[]"), "2: frontends.db.listen: must have at least one address"),
        (
            frontend('listen_mode = "0660"').replace('"0.0.0.0:5432"', "[]"),
            "2: frontends.db.listen: must have at least one address",
        ),
        (
            SMALLEST.replace('"0.0.0.0:5432"', "7"),
            "2: frontends.db.listen: must be an address or a list of addresses, got 7",
        ),
        (
            SMALLEST.replace('"0.0.0.0:5432"', '["[::ffff:127.0.0.1]:80"]'),
            (
                f"2: frontends.db.listen[0]: [{MAPPED}]:80 is an IPv4 address in the form of IPv6, "
                "on which the system does not listen, write 127.0.0.1:80"
            ),
        ),
        (SMALLEST.replace('pool = "db"', "pool = 1"), "3: frontends.db.pool: must be a string, got 1"),
        (
            SMALLEST.replace('pool = "db"', 'pool = "x"'),
            '3: frontends.db.pool: no pool is named "x", the pools are "db"',
        ),
        (
            "[frontends.a]\nlisten='[::]:1'\npool='x'",
            ('3: frontends.a.pool: no pool is named "x", add its table [pools.NAME]'),
        ),
        (
            frontend('accept_proxy_protocol = ["10.0.0.1/8"]'),
            (
                '4: frontends.db.accept_proxy_protocol[0]: must be a network such as "10.0.0.0/8" or '
                '"2001:db8::/32", got "10.0.0.1/8": no bit may be set behind the prefix, did you mean '
                '"10.0.0.0/8"?'
            ),
        ),
        (
            frontend('preread_timeout = "0s"'),
            "4: frontends.db.preread_timeout: must be longer than 0s, got 0s",
        ),
        (
            frontend('access.deny = ["10.0.0.1/8"]'),
            (
                '4: frontends.db.access.deny[0]: must be a network such as "10.0.0.0/8" or '
                '"2001:db8::/32", got "10.0.0.1/8": no bit may be set behind the prefix, did you mean '
                '"10.0.0.0/8"?'
            ),
        ),
        (
            frontend('access.allow = "10.0.0.0/8"'),
            '4: frontends.db.access.allow: must be a list, got "10.0.0.0/8"',
        ),
        (
            frontend("access.dry_run = true"),
            '4: frontends.db.access.dry_run: has no effect without "allow", "deny" or "deny_file"',
        ),
        (
            frontend("access = { allow = [], dry_run = true }"),
            '4: frontends.db.access.dry_run: has no effect without "allow", "deny" or "deny_file"',
        ),
        ("[overload]\n" + SMALLEST, '1: overload: has no effect without "memory" or "descriptors"'),
        ("overload = 1\n" + SMALLEST, "1: overload: must be a table, got 1"),
        ('worker_timeout = "0.9s"\n' + SMALLEST, "1: worker_timeout: must be at least 1s, got 900ms"),
        (
            "[overload]\nmemry = 1\n" + SMALLEST,
            '2: overload.memry: unknown key, did you mean "memory"?',
        ),
        (
            "[overload]\nmemory = 0\n" + SMALLEST,
            "2: overload.memory: must be at least 1, got 0",
        ),
        (
            '[overload]\ndescriptors = "0%"\n' + SMALLEST,
            "2: overload.descriptors: must be 1% to 100%, got 0%",
        ),
        (
            "[overload]\ndescriptors = 900\n" + SMALLEST,
            '2: overload.descriptors: must be a percentage from "0%" to "100%", got 900',
        ),
        (
            '[resolver]\nservers = ["ns.internal"]\n' + SMALLEST,
            (
                '2: resolver.servers[0]: must be the IP address of a name server such as "10.0.0.2", '
                '"10.0.0.2:5353" or "[2001:db8::53]:53", got "ns.internal"'
            ),
        ),
        (
            '[resolver]\nengine = "dnssec"\n' + SMALLEST,
            '2: resolver.engine: must be one of "dns" or "system", got "dnssec", did you mean "dns"?',
        ),
        (
            '[resolver]\nhold = "for ever"\n' + SMALLEST,
            (
                '2: resolver.hold: must be "forever" or a duration such as "250ms", "2s", "5m", "1h" or a '
                'number of seconds, got "for ever"'
            ),
        ),
        (
            '[resolver]\nmin_ttl = "1m"\nmax_ttl = "10s"\n' + SMALLEST,
            "3: resolver.max_ttl: must be at least min_ttl, 1m, got 10s",
        ),
        ('[resolver]\nmin_ttl = "1ms"\n' + SMALLEST, "2: resolver.min_ttl: must be 100ms to 24h, got 1ms"),
        ('[resolver]\ntimeout = "0s"\n' + SMALLEST, "2: resolver.timeout: must be 10ms to 1m, got 0s"),
        (
            '[resolver]\nengine = "system"\nservers = ["10.0.0.2"]\n' + SMALLEST,
            '3: resolver.servers: has no effect with engine = "system", leave out one of them',
        ),
        (frontend("limits.connections = 0"), "4: frontends.db.limits.connections: must be at least 1, got 0"),
        (
            frontend("limits.connect_rate_per_client = 50"),
            (
                "4: frontends.db.limits.connect_rate_per_client: must be a rate such as "
                '"50/s", "600/m" or "1000/h", got 50'
            ),
        ),
        (
            frontend("limits.burst_per_client = 5"),
            '4: frontends.db.limits.burst_per_client: has no effect without "connect_rate_per_client"',
        ),
        (
            frontend('limits.ban_window = "10s"'),
            '4: frontends.db.limits.ban_window: has no effect without "ban_after"',
        ),
        (
            frontend("limits = { connections_per_client = 5, ban_for = 5 }"),
            '4: frontends.db.limits.ban_for: has no effect without "ban_after"',
        ),
        (
            frontend("limits = { connections_per_client = 5, ban_after = 5, ban_for = 0 }"),
            "4: frontends.db.limits.ban_for: must be longer than 0s, got 0s",
        ),
        (
            frontend("access.deny = []\nlimits = { connections = 5, ban_after = 5 }"),
            (
                "5: frontends.db.limits.ban_after: has no effect where no client is refused, add "
                '"connections_per_client" or "connect_rate_per_client", or lists to frontends.db.access'
            ),
        ),
        (
            frontend("limits.dry_run = true"),
            (
                '4: frontends.db.limits.dry_run: has no effect without "connections", '
                '"connections_per_client", "connect_rate_per_client", "max_requests", '
                '"requests_per_client", "ban_after", "bandwidth_per_connection" or "min_rate"'
            ),
        ),
        (
            frontend("limits.bandwidth_per_connection = 1000"),
            (
                '4: frontends.db.limits.bandwidth_per_connection: must be a bandwidth such as "10MiB/s", '
                '"500KiB/s" or "100B/s", got 1000'
            ),
        ),
        (
            frontend('limits = { min_rate = "1KiB/s", bandwidth_per_connection = "1024B/s" }'),
            (
                "4: frontends.db.limits.min_rate: must be less than bandwidth_per_connection, 1KiB/s, got "
                '"1KiB/s"'
            ),
        ),
        (
            frontend('sni_routes = [{ names = ["*"], pool = "db" }]'),
            (
                '4: frontends.db.sni_routes[0].names[0]: must be a host name such as "www.example.com" or a '
                'wildcard such as "*.example.com", got "*": a name has to stand behind the *'
            ),
        ),
        (
            frontend('sni_routes = [{ names = [], pool = "db" }]'),
            "4: frontends.db.sni_routes[0].names: must have at least one name",
        ),
        (
            frontend('sni_routes = [{ names = ["a.example"], pool = "bd" }]'),
            '4: frontends.db.sni_routes[0].pool: no pool is named "bd", the pools are "db"',
        ),
        (
            frontend('sni_routes = [{ names = ["a.example", "A.example."], pool = "db" }]'),
            (
                '4: frontends.db.sni_routes[0].names: "a.example" stands already in '
                "frontends.db.sni_routes[0].names"
            ),
        ),
        (
            SMALLEST.replace('pool = "db"\n', "sni_routes = []\n"),
            '1: frontends.db.pool: is required, such as pool = "db"',
        ),
        (
            pool('send_proxy_protocol = "v3"'),
            '7: pools.db.send_proxy_protocol: must be one of "v1" or "v2", got "v3"',
        ),
        (
            pool('retry_on = ["reset"]'),
            '7: pools.db.retry_on[0]: must be one of "connect_failed" or "reset_before_answer", got "reset"',
        ),
        (
            pool('pass_tlvs = ["crc32c"]\nsend_proxy_protocol = "v2"'),
            (
                '7: pools.db.pass_tlvs[0]: must be "alpn", "authority", "unique_id", "ssl" or "netns", '
                'or the number of another field, 1 to 255, got "crc32c"'
            ),
        ),
        (backends("[]"), "6: pools.db.backends: must have at least one backend"),
        (backends("[]") + "queue = 5\n", "6: pools.db.backends: must have at least one backend"),
        (backends('"10.0.0.1:1"'), '6: pools.db.backends: must be a list, got "10.0.0.1:1"'),
        (backends('["a:0"]'), '6: pools.db.backends[0]: must have a port from 1 to 65535, got "a:0"'),
        (
            backends('[{ address = "a:0" }]'),
            '6: pools.db.backends[0].address: must have a port from 1 to 65535, got "a:0"',
        ),
        (
            backends('[{ address = "a:1", backup = 1 }]'),
            "6: pools.db.backends[0].backup: must be true or false, got 1",
        ),
        (
            backends('[{ address = "a:1", weight = 257 }]'),
            "6: pools.db.backends[0].weight: must be 1 to 256, got 257",
        ),
        (
            backends('[{ address = "a:1", weight = true }]'),
            "6: pools.db.backends[0].weight: must be a whole number, got true",
        ),
        (
            backends('[{ address = "a:1", max_connections = 0 }]'),
            "6: pools.db.backends[0].max_connections: must be at least 1, got 0",
        ),
        (
            backends('[{ address = "a:1", name = "a\\nb" }]'),
            '6: pools.db.backends[0].name: must be a name of printable characters, got "a\\nb"',
        ),
        (
            backends('["unix:a\\nb"]'),
            "6: pools.db.backends[0]: must be a name of printable characters, got ",
        ),
        (
            backends('[{ address = "a:1", name = "x" }, { address = "b:1", name = "x" }]'),
            '6: pools.db.backends[1]: the name "x" is already that of pools.db.backends[0], choose another',
        ),
        (
            backends('["A:1", { address = "a:1", name = "x" }]'),
            "6: pools.db.backends[1]: a:1 is already the address of pools.db.backends[0]",
        ),
        (
            backends('[{ address = "a:1", backup = true }]'),
            "6: pools.db.backends: must have at least one backend without backup = true",
        ),
        (
            pool('balance = "round-robin"'),
            (
                '7: pools.db.balance: must be one of "round_robin", "least_connections", '
                '"power_of_two_choices", "peak_ewma", "random" or "source_hash", got "round-robin", '
                'did you mean "round_robin"?'
            ),
        ),
        (pool("balance = 1"), "7: pools.db.balance: must be a string, got 1"),
        (
            pool('bounded_load = 0.5\nbalance = "source_hash"'),
            "7: pools.db.bounded_load: must be at least 1, got 0.5",
        ),
        (
            pool("bounded_load = 2"),
            '7: pools.db.bounded_load: has no effect without balance = "source_hash"',
        ),
        (
            pool('balance = "random"\nbounded_load = 2'),
            '8: pools.db.bounded_load: has no effect without balance = "source_hash"',
        ),
        (
            pool('balance = "source_hash"\n[pools.db.rebalance]\nrate = "5/s"'),
            '8: pools.db.rebalance: has no effect with balance = "source_hash", leave out one of them',
        ),
        (
            pool('balance = "peak_ewma"\n[pools.db.rebalance]\nrate = "5/s"'),
            '8: pools.db.rebalance: has no effect with balance = "peak_ewma", leave out one of them',
        ),
        (
            pool('[pools.db.rebalance]\nidle_for = "5s"'),
            '7: pools.db.rebalance.rate: is required, such as rate = "5/s"',
        ),
        (
            frontend('idle_timeout = "30s"') + '[pools.db.rebalance]\nrate = "5/s"\nidle_for = "30s"',
            (
                "10: pools.db.rebalance.idle_for: must be shorter than the idle_timeout of its frontends, "
                "30s, got 30s"
            ),
        ),
        (
            frontend('idle_timeout = "20s"') + '[pools.db.rebalance]\nrate = "5/s"',
            (
                "8: pools.db.rebalance.idle_for: must be shorter than the idle_timeout of its frontends, "
                "20s, got 30s"
            ),
        ),
        (
            pool('[pools.db.rebalance]\nrate = "0/s"'),
            '8: pools.db.rebalance.rate: must be a rate such as "50/s", "600/m" or "1000/h", got "0/s"',
        ),
        (
            pool('[pools.db.rebalance]\nrate = "5/s"\nidle_for = 0'),
            "9: pools.db.rebalance.idle_for: must be longer than 0s, got 0s",
        ),
        (
            pool('balance = "source_hash"\nslow_start = "30s"'),
            '8: pools.db.slow_start: has no effect with balance = "source_hash", leave out one of them',
        ),
        (pool('queue_timeout = "10s"'), '7: pools.db.queue_timeout: has no effect without "queue"'),
        (pool("queue = 5"), "7: pools.db.queue: has no effect without max_connections at a backend"),
        (
            pool('tls = { verify = false, ca = "ca.pem" }'),
            "7: pools.db.tls.ca: has no effect with verify = false, leave out one of them",
        ),
        (
            frontend('tls = { certificates = [{ cert = "a.pem" }], client_crl = "a.crl" }'),
            (
                '4: frontends.db.tls.client_crl: has no effect without "client_ca", which makes clients show '
                "a certificate"
            ),
        ),
        (
            frontend(
                'sni_routes = [{ names = ["a.example"], pool = "db" }]\n'
                'tls.certificates = [{ cert = "a.pem" }]'
            ),
            (
                "4: frontends.db.sni_routes: not together with tls: either TLS ends here or it is passed "
                "through, so leave out one of them"
            ),
        ),
        (
            '[resolver]\nengine = "system"\ntimeout = "1s"\n' + SMALLEST,
            '3: resolver.timeout: has no effect with engine = "system", leave out one of them',
        ),
        (
            pool('pass_tlvs = ["ssl"]'),
            '7: pools.db.pass_tlvs: has no effect without send_proxy_protocol = "v2"',
        ),
        (
            pool('pass_tlvs = ["ssl"]\nsend_proxy_protocol = "v1"'),
            '7: pools.db.pass_tlvs: has no effect without send_proxy_protocol = "v2"',
        ),
        (
            pool("bounded_load = inf\nbalance = 'source_hash'"),
            "7: pools.db.bounded_load: must be a number, got inf",
        ),
        (
            pool("panic_threshold = 0.5"),
            '7: pools.db.panic_threshold: must be a percentage from "0%" to "100%", got 0.5',
        ),
        (
            pool('affinity.by = "cookie"'),
            (
                '7: pools.db.affinity.by: must be "source_ip" without mode = "http" at a frontend of this '
                'pool, got "cookie"'
            ),
        ),
        (pool("affinity.ipv4_prefix = 33"), "7: pools.db.affinity.ipv4_prefix: must be 1 to 32, got 33"),
        (pool("affinity.ipv6_prefix = 0"), "7: pools.db.affinity.ipv6_prefix: must be 1 to 128, got 0"),
        (pool("affinity.max_entries = 0"), "7: pools.db.affinity.max_entries: must be at least 1, got 0"),
        (
            pool('affinity.state_file = ""'),
            '7: pools.db.affinity.state_file: must be the name of a file, got ""',
        ),
        (
            pool("affinity.state_file = true"),
            "7: pools.db.affinity.state_file: must be the name of a file, got true",
        ),
        (pool("health.rise = 0"), "7: pools.db.health.rise: must be at least 1, got 0"),
        (pool("health.port = 0"), "7: pools.db.health.port: must be 1 to 65535, got 0"),
        (
            pool('health.address = "10.0.0.1:80"'),
            (
                '7: pools.db.health.address: must be a host name such as "web.internal" or an IP address, '
                'got "10.0.0.1:80"'
            ),
        ),
        (
            pool('health.send_proxy_protocol = "v3"'),
            '7: pools.db.health.send_proxy_protocol: must be one of "v1", "v2" or "none", got "v3"',
        ),
        (pool("health = []"), "7: pools.db.health: must be a table, got an empty list"),
        (
            pool('health.initial = "check"'),
            (
                '7: pools.db.health.initial: must be one of "checked", "up" or "down", got "check", '
                'did you mean "checked"?'
            ),
        ),
        (
            pool('[access_log]\npath = ""'),
            ('8: access_log.path: must be the name of a file or "-" for standard output, got ""'),
        ),
        (
            pool('[access_log]\nformat = "jso"'),
            (
                '8: access_log.format: must be one of "text", "json" or "combined", got "jso", '
                'did you mean "json"?'
            ),
        ),
        (
            pool('[access_log]\nformat = "combined"'),
            (
                '8: access_log.format: must be "text" or "json" where no frontend has mode = "http": '
                '"combined" has lines for requests alone'
            ),
        ),
        (
            pool('[frontends."\\u0007"]\nlisten = "[::1]:1"\npool = "db"'),
            '7: frontends."\\x07": must be a name of printable characters, got "\\x07"',
        ),
        (
            pool('[pools."  "]\nbackends = ["a:1"]'),
            '7: pools."  ": must be a name of printable characters, got "  "',
        ),
        (
            pool("tls = {}").replace('"10.0.0.12:5432"', '"unix:a"'),
            (
                "6: pools.db.backends[1]: is a unix socket, which has no host that its certificate could be "
                "for, add server_name to it or to pools.db.tls"
            ),
        ),
    ],
)
def test_refused_values(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    # A path in the test's folder ends the one message that has one.
    assert found == problem or (problem.endswith("got ") and found.startswith(problem))


@pytest.mark.parametrize(
    ("tls", "backend"),
    [
        ("{}", '{ address = "unix:a", server_name = "a.internal" }'),
        ('{ server_name = "a.internal" }', '"unix:a"'),
        ("{ verify = false }", '"unix:a"'),
    ],
)
def test_a_unix_socket_has_a_name_to_be_verified_by(tmp_path: Path, tls: str, backend: str) -> None:
    assert problems(tmp_path, backends(f"[{backend}]\ntls = {tls}")) == []


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("0.0.0.0:80", "0.0.0.0:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::1]:80", "[::]:80", True),
        ("[0:0::1]:80", "[::1]:80", True),
        ("unix:a", "unix:./a", True),
        ("unix:a", "unix:b/../a", True),
        ("unix:/a", "unix://a", True),
        ("unix:/a/b", "unix:/a/./b", True),
        ("[::]:80", "127.0.0.1:80", False),
        ("0.0.0.0:80", "[::]:80", False),
        ("0.0.0.0:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("unix:a", "unix:b", False),
    ],
)
def test_two_listeners_on_one_address(tmp_path: Path, first: str, second: str, taken: bool) -> None:
    text = pool(f'[frontends.b]\npool = "db"\nlisten = ["10.0.0.1:1", "{second}"]').replace(
        "0.0.0.0:5432", first
    )
    found = problems(tmp_path, text)
    assert len(found) == taken
    for line in found:
        assert line.startswith("9: frontends.b.listen[1]: ")
        assert line.endswith(" is taken by frontends.db.listen, choose another address or port")


@pytest.mark.parametrize("other", ["web.affinity", "./x/../web.affinity"])
def test_two_pools_with_one_state_file(tmp_path: Path, other: str) -> None:
    text = pool(
        f"""
        affinity.state_file = "web.affinity"
        [pools.api]
        backends = ["10.0.0.21:80"]
        affinity.state_file = "{other}"
        """
    )
    (found,) = problems(tmp_path, text)
    assert found == (
        f"11: pools.api.affinity.state_file: {tmp_path}/web.affinity is already "
        "pools.db.affinity.state_file, choose another file"
    )


def test_one_frontend_with_a_longer_idle_timeout_is_enough_for_rebalancing(tmp_path: Path) -> None:
    text = frontend('idle_timeout = "20s"') + '[pools.db.rebalance]\nrate = "5/s"\n'
    other = '[frontends.other]\nlisten = "0.0.0.0:5433"\npool = "db"\n'
    assert problems(tmp_path, text + other) == []
    assert len(problems(tmp_path, text + other + 'idle_timeout = "30s"\n')) == 1
    assert len(problems(tmp_path, text + other + "idle_timeout = true\n")) == 1, (
        "another mistake, and no more"
    )


LATER = {
    "": ["[discovery]\n"],
    "[pools.db]": ['source_address = "10.0.0.5"'],
}


@pytest.mark.parametrize(("table", "key"), [(table, key) for table, keys in LATER.items() for key in keys])
def test_keys_of_what_does_not_exist_yet_are_unknown(tmp_path: Path, table: str, key: str) -> None:
    if table.endswith("."):
        text = f"{SMALLEST}{table}{key}\n"
    elif table and table in SMALLEST:
        text = SMALLEST.replace(f"{table}\n", f"{table}\n{key}\n")
    else:
        text = f"{SMALLEST}{table}\n{key}\n" if table else f"{key}\n{SMALLEST}"
    (found,) = problems(tmp_path, text)
    assert f"{key.split(maxsplit=1)[0].strip('[]')}: unknown key, " in found
