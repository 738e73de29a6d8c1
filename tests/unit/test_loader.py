"""A whole file in: models out, or every mistake with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.configs import (
    EVERYTHING,
    POLICIES,
    PROBES,
    SMALLEST,
    TcpProbe,
    backends,
    frontend,
    load_text,
    pool,
    problems,
)
from tcpbalance.config.addresses import Address, HostName, Network
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.errors import (
    BrokenRules,
    ConfigError,
    InvalidValue,
    KeyPath,
    Mistake,
    Problem,
    Severity,
)
from tcpbalance.config.frontends import FrontendConfig, RouteConfig, SocketConfig
from tcpbalance.config.loader import FileTable, load
from tcpbalance.config.log import AccessLogConfig, LogConfig
from tcpbalance.config.models import Config
from tcpbalance.config.names import AlpnName, NamePattern, TlvType
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.paths import FilePath, LogPath
from tcpbalance.config.pools import AffinityConfig, BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.quantities import Bandwidth, Duration, Fraction, Rate, Size
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig
from tcpbalance.errors import Fault


class TestModels:
    def test_smallest(self, tmp_path: Path) -> None:
        config = load_text(tmp_path, SMALLEST)
        assert config == Config(
            frontends={"db": FrontendConfig(listen=(Address("0.0.0.0", 5432),), pool="db")},
            pools={
                "db": PoolConfig(
                    backends=(
                        BackendConfig(address=Address("10.0.0.11", 5432)),
                        BackendConfig(address=Address("10.0.0.12", 5432)),
                    )
                )
            },
        )
        assert config.shutdown_grace == Duration(30)
        assert config.overload is None
        assert config.access_log is None
        assert config.frontends["db"].access is None
        assert config.frontends["db"].limits is None
        assert config.frontends["db"].socket == SocketConfig()
        assert config.pools["db"].backends[0].name == "10.0.0.11:5432"
        assert config.pools["db"].health is None
        assert config.pools["db"].affinity is None

    def test_everything(self, tmp_path: Path) -> None:
        assert load_text(tmp_path, EVERYTHING) == Config(
            shutdown_grace=Duration(30),
            overload=OverloadConfig(memory=Size(512 << 20), descriptors=Fraction(0.9)),
            log=LogConfig(level="warn", format="json"),
            access_log=AccessLogConfig(path=LogPath("-"), format="text"),
            frontends={
                "web": FrontendConfig(
                    listen=(Address("0.0.0.0", 443), Address("::", 443)),
                    mode="tcp",
                    pool="web",
                    accept_proxy_protocol=(Network.parse("10.0.0.0/8"), Network.parse("2001:db8::/32")),
                    preread_timeout=Duration(5),
                    sni_routes=(
                        RouteConfig(
                            names=(NamePattern("api.example.com"), NamePattern("*.static.example.com")),
                            pool="web",
                        ),
                    ),
                    backlog=4096,
                    idle_timeout=Duration(3600),
                    half_close_timeout=Duration(30),
                    max_connection_age=Duration(43200),
                    access=AccessConfig(
                        allow=(Network.parse("10.0.0.0/8"), Network.parse("2001:db8::/32")),
                        deny=(Network.parse("10.9.9.0/24"),),
                        deny_file=FilePath(f"{tmp_path}/banned.txt"),
                        dry_run=True,
                    ),
                    limits=LimitsConfig(
                        connections=10000,
                        connections_per_client=100,
                        connect_rate_per_client=Rate(50, 1.0),
                        burst_per_client=100,
                        bandwidth_per_connection=Bandwidth(10485760),
                        min_rate=Bandwidth(100),
                        ban_after=20,
                        ban_window=Duration(10),
                        ban_for=Duration(600),
                        dry_run=True,
                    ),
                    socket=SocketConfig(
                        receive_buffer=Size(262144),
                        send_buffer=Size(262144),
                        max_segment=Size(1400),
                        window_clamp=Size(524288),
                        keepalive=Duration(60),
                        user_timeout=Duration(30),
                        fast_open=256,
                        congestion="bbr",
                    ),
                ),
                "secure": FrontendConfig(
                    listen=(Address("0.0.0.0", 8443),),
                    pool="web",
                    tls=FrontendTlsConfig(
                        certificates=(
                            CertificateConfig(
                                cert=FilePath(f"{tmp_path}/web.pem"), key=FilePath(f"{tmp_path}/web.key")
                            ),
                            CertificateConfig(cert=FilePath("/etc/tcpbalance/both.pem")),
                        ),
                        minimum_version="1.3",
                        alpn=(AlpnName("h2"), AlpnName("http/1.1")),
                        client_ca=FilePath(f"{tmp_path}/clients.pem"),
                        client_crl=FilePath(f"{tmp_path}/revoked.pem"),
                    ),
                ),
            },
            pools={
                "web": PoolConfig(
                    balance="source_hash",
                    bounded_load=1.25,
                    panic_threshold=Fraction(0),
                    connect_timeout=Duration(3),
                    dial_timeout=Duration(15),
                    retries=2,
                    retry_on=("connect_failed", "reset_before_answer"),
                    send_proxy_protocol="v2",
                    pass_tlvs=(TlvType(2), TlvType(0xE4)),
                    backends=(
                        BackendConfig(address=Address("10.0.0.11", 443)),
                        BackendConfig(
                            name="b", address=Address("10.0.0.12", 443), weight=2, max_connections=500
                        ),
                        BackendConfig(address=Address("10.0.0.13", 443), server_name=HostName("c.internal")),
                    ),
                    tls=PoolTlsConfig(
                        verify=True,
                        ca=FilePath(f"{tmp_path}/internal.pem"),
                        crl=FilePath(f"{tmp_path}/internal-revoked.pem"),
                        server_name=HostName("web.internal"),
                        certificate=CertificateConfig(
                            cert=FilePath(f"{tmp_path}/edge.pem"), key=FilePath(f"{tmp_path}/edge.key")
                        ),
                    ),
                    affinity=AffinityConfig(
                        by="source_ip",
                        ttl=Duration(1800),
                        max_entries=100000,
                        ipv4_prefix=32,
                        ipv6_prefix=64,
                        state_file=FilePath(f"{tmp_path}/web.affinity"),
                    ),
                    health=HealthConfig(
                        check="tcp",
                        interval=Duration(2),
                        timeout=Duration(1),
                        rise=2,
                        fall=3,
                        initial="checked",
                        down_interval=Duration(5),
                        on_down="keep",
                        probe=TcpProbe(),
                    ),
                )
            },
        )

    def test_relative_paths_are_relative_to_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = backends('["unix:run/a.sock"]').replace("0.0.0.0:5432", "unix:in.sock")
        (tmp_path / "c.toml").write_text(text + '[access_log]\npath = "a.log"\n')
        monkeypatch.chdir(tmp_path.parent)
        config = load(f"{tmp_path.name}/c.toml", policies=POLICIES, probes=PROBES)
        assert config.frontends["db"].listen[0].path == f"{tmp_path}/in.sock"
        assert config.pools["db"].backends[0].name == f"unix:{tmp_path}/run/a.sock"
        assert config.access_log is not None
        assert config.access_log.path == f"{tmp_path}/a.log"

    @pytest.mark.parametrize(
        "text",
        [
            frontend("").replace(":5432", ":0"),
            frontend("").replace(
                '"0.0.0.0:5432"', '["0.0.0.0:1", "[::]:1", "0.0.0.0:2", "unix:a", "unix:b"]'
            ),
            frontend("").replace(
                '"0.0.0.0:5432"', '["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:1", "127.0.0.2:1"]'
            ),
            pool("[pools.spare]\nbackends = ['a:1']"),
            pool("balance = 'source_hash'\nbounded_load = 1"),
            pool("pass_tlvs = []"),
            backends('["a:1", { address = "b:1", backup = true }]'),
            frontend("access = {}\nlimits = {}"),
            frontend("access = { allow = [], dry_run = false }\nlimits.dry_run = false"),
            frontend('access = { deny_file = "none.txt", dry_run = true }\nlimits.ban_after = 1'),
            frontend("limits = { connections = 1, dry_run = true }"),
            frontend('limits = { bandwidth_per_connection = "1MiB/s", dry_run = true }'),
            frontend('limits = { min_rate = "1B/s", dry_run = true }'),
            "\ufeff" + SMALLEST,
            SMALLEST.replace("\n", "\r\n"),
        ],
        ids=[
            "port 0",
            "families",
            "port 0 twice",
            "unused pool",
            "whole number for a number",
            "nothing without effect",
            "backup",
            "a gate without anything",
            "a gate of nothing",
            "bans by a list alone",
            "a trial of one limit",
            "a trial without a bandwidth",
            "a trial without a least rate",
            "byte order mark",
            "DOS line ends",
        ],
    )
    def test_allowed(self, tmp_path: Path, text: str) -> None:
        # Port 0 only listens.
        text = text.replace('["10.0.0.11:0", "10.0.0.12:0"]', '["10.0.0.11:1"]')
        assert problems(tmp_path, text) == []

    def test_a_config_made_by_hand_keeps_the_rules(self) -> None:
        here = FrontendConfig(listen=(Address("127.0.0.1", 80),), pool="web")
        with pytest.raises(BrokenRules, match=r"frontends\.a\.pool: no pool is named") as caught:
            Config(frontends={"a": here, "b": here})
        assert len(caught.value.mistakes) == 3

    def test_a_model_made_by_hand_keeps_its_bounds(self) -> None:
        with pytest.raises(InvalidValue, match="weight must be 1 to 256, got 0"):
            BackendConfig(address=Address("a", 1), weight=0)


class TestMessages:
    def test_the_form_of_a_problem(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = EVERYTHING.replace("weight = 2", "weight = -3")
        (tmp_path / "tcpbalance.toml").write_text(text)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError) as caught:
            load("tcpbalance.toml", policies=POLICIES, probes=PROBES)
        assert str(caught.value) == (
            "tcpbalance.toml:74: pools.web.backends[1].weight: must be 1 to 256, got -3"
        )
        assert caught.value.fault is Fault.CONFIGURATION
        (problem,) = caught.value.problems
        assert (problem.line, problem.path) == (74, ("pools", "web", "backends", 1, "weight"))

    def test_all_mistakes_at_once_in_the_order_of_their_lines(self, tmp_path: Path) -> None:
        text = (
            'shutdown_grace = "5x"\n'
            "worker = 1\n"
            "[pools.db]\n"
            "retries = -1\n"
            'connect_timeout = "0s"\n'
            "backends = [\n"
            '  "10.0.0.1:80",\n'
            '  { adress = "10.0.0.1:80", weight = 0 },\n'
            '  "10.0.0.1:80",\n'
            "  7,\n"
            "]\n"
            "[frontends.db]\n"
            'pool = "dbb"\n'
            "backlog = true\n"
        )
        assert problems(tmp_path, text) == [
            (
                '1: shutdown_grace: must be a duration such as "250ms", "2s", "5m", "1h" or a number of '
                'seconds, got "5x"'
            ),
            '2: worker: unknown key, did you mean "workers"?',
            "4: pools.db.retries: must be at least 0, got -1",
            "5: pools.db.connect_timeout: must be longer than 0s, got 0s",
            '8: pools.db.backends[1].address: is required, such as address = "10.0.0.11:5432"',
            "8: pools.db.backends[1].weight: must be 1 to 256, got 0",
            '8: pools.db.backends[1].adress: unknown key, did you mean "address"?',
            "9: pools.db.backends[2]: 10.0.0.1:80 is already the address of pools.db.backends[0]",
            "10: pools.db.backends[3]: must be an address or a table, got 7",
            '12: frontends.db.listen: is required, such as listen = "0.0.0.0:5432"',
            '13: frontends.db.pool: no pool is named "dbb", did you mean "db"?',
            "14: frontends.db.backlog: must be a whole number, got true",
        ]

    def test_what_does_not_go_together_is_told_beside_what_cannot_be_read(self, tmp_path: Path) -> None:
        text = (
            "[frontends.a]\n"
            'listen = ["127.0.0.1:80", "here"]\n'
            'pool = "c"\n'
            "limits = { ban_window = 10, ban_after = 0, connections = -1, dry_run = true }\n"
            'access = { allow = ["all"], deny_file = 1 }\n'
            "[frontends.b]\n"
            'listen = "127.0.0.1:80"\n'
            "pool = 1\n"
            'limits = { burst_per_client = "5", ban_after = 1 }\n'
            'sni_routes = [1, { names = ["a.b", 2, "a.b"], pool = "d" }]\n'
            'tls = { certificates = [], client_crl = "crl.pem" }\n'
            "[pools.d]\n"
            'backends = [{ address = "127.0.0.1:80", name = 1 }, { address = "unix:x", weight = 0 }, 5]\n'
            'queue_timeout = "1s"\n'
            "bounded_load = 2\n"
            "slow_start = 1\n"
            "balance = 1\n"
            'health = { interval = "x", port = 80 }\n'
            "tls = { verify = 1 }\n"
        )
        assert [line.split(": ", 2)[:2] for line in problems(tmp_path, text)] == [
            ["2", "frontends.a.listen[1]"],
            ["3", "frontends.a.pool"],
            ["4", "frontends.a.limits.connections"],
            ["4", "frontends.a.limits.ban_after"],
            ["5", "frontends.a.access.allow[0]"],
            ["5", "frontends.a.access.deny_file"],
            ["7", "frontends.b.listen"],
            ["8", "frontends.b.pool"],
            ["9", "frontends.b.limits.burst_per_client"],
            ["9", "frontends.b.limits.ban_after"],
            ["10", "frontends.b.sni_routes[0]"],
            ["10", "frontends.b.sni_routes[1].names[1]"],
            ["10", "frontends.b.sni_routes"],
            ["10", "frontends.b.sni_routes[1].names"],
            ["11", "frontends.b.tls.certificates"],
            ["11", "frontends.b.tls.client_crl"],
            ["13", "pools.d.backends[0].name"],
            ["13", "pools.d.backends[1].weight"],
            ["13", "pools.d.backends[2]"],
            ["13", "pools.d.backends[0]"],
            ["14", "pools.d.queue_timeout"],
            ["17", "pools.d.balance"],
            ["18", "pools.d.health.interval"],
            ["18", "pools.d.health"],
            ["19", "pools.d.tls.verify"],
        ]

    @pytest.mark.parametrize(
        ("keys", "mistake"),
        [
            (
                'connect_timeout = "5s"\ndial_timeout = "4s"',
                "dial_timeout: must be at least connect_timeout, 5s, got 4s",
            ),
            ('dial_timeout = "0s"', "dial_timeout: must be longer than 0s, got 0s"),
            ("retry_on = []", 'retry_on: must have "connect_failed"; retries = 0 makes no further attempt'),
            (
                'retries = 0\nretry_on = ["connect_failed", "reset_before_answer"]',
                '"reset_before_answer" has no effect with retries = 0',
            ),
            (
                'retry_on = ["connect_failed", "reset"]',
                'retry_on[1]: must be one of "connect_failed" or "reset_before_answer", got "reset"',
            ),
        ],
    )
    def test_dialling(self, tmp_path: Path, keys: str, mistake: str) -> None:
        text = (
            '[frontends.db]\nlisten = "127.0.0.1:5432"\npool = "db"\n'
            f'[pools.db]\nbackends = ["10.0.0.1:80"]\n{keys}\n'
        )
        (found,) = problems(tmp_path, text)
        assert mistake in found

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("", "1: is empty, write at least one [frontends.NAME] and its [pools.NAME]"),
            (" \n\t\n", "1: is empty, write at least one [frontends.NAME] and its [pools.NAME]"),
            ("# nothing\n", "1: frontends: must have at least one frontend, such as [frontends.web]"),
            ("[frontends]", "1: frontends: must have at least one frontend, such as [frontends.web]"),
            ("frontends = 1", "1: frontends: must be a table, got 1"),
            ("a = 1\nb = = 2", "2: not valid TOML: invalid value (column 5)"),
            ("a = 1\nb = [\n", "2: not valid TOML: unclosed array"),
            ("a: 1", '1: not valid TOML: expected "=" after a key in a key/value pair (column 2)'),
            ("a = 1\na = 2", "2: not valid TOML: cannot overwrite a value (column 6)"),
            (b"a = 1\nb = '\xff'\n", "2: is not a text in UTF-8, save it as UTF-8"),
            ("a = 1".encode("utf-16"), "1: is not a text in UTF-8, save it as UTF-8"),
            ("a = 1\n# \0", "2: has a NUL in it and is not a text, name a configuration file"),
            (b"\x7fELF\0\0", "1: has a NUL in it and is not a text, name a configuration file"),
            ("a = " + "[" * 9000, "1: keys, lists or tables are nested too deeply"),
            ("a = " + "[" * 9000 + "]" * 9000, "1: keys, lists or tables are nested too deeply"),
            ("\n[x]\na" + ".a" * 250_000 + " = 1", "3: keys, lists or tables are nested too deeply"),
            ("\n\n[ 'a'" + ' . "a"' * 50_000 + "]", "3: keys, lists or tables are nested too deeply"),
            ("a = {" + "a." * 250_000 + "a = 1}", "1: keys, lists or tables are nested too deeply"),
            ("\na = " + "9" * 5000, "2: not valid TOML: a number has too many digits"),
            ("#" * 2**20 + "\n", "1: is larger than 1 MiB, name a configuration file"),
        ],
    )
    def test_a_file_that_is_no_configuration(self, tmp_path: Path, text: str | bytes, line: str) -> None:
        (found,) = problems(tmp_path, text)
        # The library's own words for a mistake, and the column it counts, may change with its version.
        assert re.sub(r"(valid TOML: )([^(]*).*", r"\1", found) == re.sub(
            r"(valid TOML: )([^(]*).*", r"\1", line
        )

    def test_no_such_file(self, tmp_path: Path) -> None:
        for name, why in [
            ("absent.toml", "No such file or directory"),
            (".", "Is a directory"),
            ("a\0b", "embedded null byte"),
        ]:
            with pytest.raises(ConfigError) as caught:
                load(f"{tmp_path}/{name}", policies=POLICIES, probes=PROBES)
            shown = f"{tmp_path}/{name}".replace("\0", "\\x00")
            assert str(caught.value) == f"{shown}:1: cannot be read: {why}"

    def test_an_endless_file(self) -> None:
        with pytest.raises(ConfigError, match="/dev/zero:1: is larger than 1 MiB"):
            load("/dev/zero", policies=POLICIES, probes=PROBES)

    def test_long_and_strange_values_are_cut_and_escaped(self, tmp_path: Path) -> None:
        key, value = "k" * 5000, "\\u001b[31m\\n" + "v" * 5000
        shown = "k" * 60 + "..."
        (one, two) = problems(tmp_path, f'{key} = 1\nshutdown_grace = "{value}"\n{SMALLEST}')
        assert one.startswith(f'1: "{shown}": unknown key, known keys are ')
        assert two.endswith('got "\\x1b[31m\\n' + "v" * 54 + '..."')

    def test_a_huge_whole_number(self, tmp_path: Path) -> None:
        text = pool("retries = 0x" + "f" * 5000) + f"[access_log]\nformat = 0x{'f' * 5000}\n"
        huge = "got a whole number of more than 64 bits"
        assert problems(tmp_path, text) == [
            f"7: pools.db.retries: must be a whole number, {huge}",
            f'9: access_log.format: must be one of "text", "json" or "combined", {huge}',
        ]

    def test_keys_that_need_quotes(self, tmp_path: Path) -> None:
        text = pool('[pools."a.b"]\nbackends = []')
        assert problems(tmp_path, text) == ['8: pools."a.b".backends: must have at least one backend']


class TestSeverity:
    """A mistake that is not fatal is reported, and the configuration can be used."""

    TEXT = SMALLEST + "[frontends.db.access]\ndeny_file = 'denied.txt'\n"

    def load(self, folder: Path, *severities: Severity) -> list[Problem]:
        """Load a configuration in whose file there is a mistake of each severity; give those reported."""

        def examine(path: KeyPath, table: FileTable) -> list[Mistake]:
            return [Mistake((*path, "deny_file"), "is odd", severity) for severity in severities]

        file = folder / "a.toml"
        file.write_text(self.TEXT)
        reported: list[Problem] = []
        load(file, policies=POLICIES, probes=PROBES, examine=examine, report=reported.append)
        return reported

    @pytest.mark.parametrize(("severity", "mark"), [(Severity.ERROR, ""), (Severity.WARNING, "warning: ")])
    def test_it_is_reported_with_its_line(self, tmp_path: Path, severity: Severity, mark: str) -> None:
        (problem,) = self.load(tmp_path, severity)
        line = self.TEXT.splitlines().index("deny_file = 'denied.txt'") + 1
        assert problem.severity is severity
        assert str(problem) == f"{tmp_path}/a.toml:{line}: {mark}frontends.db.access.deny_file: is odd"

    def test_files_that_cannot_be_named_are_not_looked_at(self, tmp_path: Path) -> None:
        """The others are, also those behind it."""

        def examine(path: KeyPath, table: FileTable) -> list[Mistake]:
            assert isinstance(table, AccessConfig)
            return [Mistake((*path, "deny_file"), f"is odd: {table.deny_file}")]

        more = "[frontends.b]\nlisten = '127.0.0.1:1'\npool = 'db'\naccess.deny_file = '/b.txt'\n"
        (tmp_path / "a.toml").write_text(self.TEXT.replace("'denied.txt'", "1") + more)
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "a.toml", policies=POLICIES, probes=PROBES, examine=examine)
        assert [problem.message for problem in caught.value.problems] == [
            "must be the name of a file, got 1",
            "is odd: /b.txt",
        ]

    def test_a_fatal_one_is_raised_with_all_others(self, tmp_path: Path) -> None:
        severities = (Severity.WARNING, Severity.FATAL, Severity.ERROR)
        with pytest.raises(ConfigError) as caught:
            self.load(tmp_path, *severities)
        assert tuple(problem.severity for problem in caught.value.problems) == severities
