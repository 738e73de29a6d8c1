"""Deny files: a network a line, and mistakes with their lines."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcpbalance.admission import lists
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.deny_file import (
    MAX_DENY_FILE,
    MAX_LINES,
    MAX_MISTAKES,
    mistakes_in_deny_file,
    read_deny_file,
)
from tcpbalance.admission.errors import DenyFileError
from tcpbalance.admission.lists import DenyFile, read_access
from tcpbalance.admission.networks import PIECE, NetworkSet
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.addresses import Network
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.errors import ConfigError, Mistake
from tcpbalance.config.paths import FilePath
from tcpbalance.config_reader import read_config
from tcpbalance.errors import Fault, SettingError
from tcpbalance.net.addresses import packed

SHOULD = 'must be a network such as "10.0.0.0/8" or "2001:db8::/32", got'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "banned.txt"


def mistakes(file: Path) -> list[str]:
    """Give what is said of a file, without its name."""
    with pytest.raises(DenyFileError) as caught:
        read_deny_file(str(file))
    return [mistake.removeprefix(f"{file}:") for mistake in caught.value.mistakes]


def inside(networks: NetworkSet) -> object:
    """Give what two sets have in common that hold the same addresses."""
    return networks.__getstate__()


def test_what_it_may_hold(file: Path) -> None:
    file.write_text(
        "# of last night\n"
        "\n"
        "192.0.2.0/24\n"
        "198.51.100.7\t# knocks\n"
        "  2001:db8:bad::/48#the whole site\r\n"
        "2001:db8::7\n"
        "::ffff:203.0.113.0/120\n"
        "10.0.0.0/255.0.0.0\n"
        "   \n"
        "#192.0.3.0/24"
    )
    denied = read_deny_file(str(file))
    hosts = ("192.0.2.9", "198.51.100.7", "2001:db8:bad:1::", "2001:db8::7", "203.0.113.1", "10.1.1.1")
    assert all(packed(host) in denied for host in hosts)
    others = ("192.0.3.9", "198.51.100.8", "2001:db8:bae::", "2001:db8::8", "203.0.114.1", "11.1.1.1")
    assert not any(packed(host) in denied for host in others)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nobody", b"\xef\xbb\xbf", b"# caf\xe9"])
def test_nobody_is_denied(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert not read_deny_file(str(file))


def test_a_byte_order_mark_is_no_mistake(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf10.0.0.1\n")
    assert packed("10.0.0.1") in read_deny_file(str(file))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("10.0.0.1/8", '"10.0.0.1/8": no bit may be set behind the prefix, did you mean "10.0.0.0/8"?'),
        (
            "2001:db8::1/32",
            '"2001:db8::1/32": no bit may be set behind the prefix, did you mean "2001:db8::/32"?',
        ),
        ("10.0.0", '"10.0.0"'),
        ("10.0.0.0/33", '"10.0.0.0/33"'),
        ("10.0.0.0/", '"10.0.0.0/"'),
        ("10.0.0.0/+8", '"10.0.0.0/+8"'),
        ("010.0.0.1", '"010.0.0.1"'),
        ("2001:db8::/129", '"2001:db8::/129"'),
        ("mail.example.com", '"mail.example.com"'),
        ("10.0.0.1 10.0.0.2", '"10.0.0.1 10.0.0.2"'),
        ("10.0.0.1, # and", '"10.0.0.1,"'),
        ("10.0.0.1\0", '"10.0.0.1\\x00"'),
        ("deny 10.0.0.1;", '"deny 10.0.0.1;"'),
    ],
)
def test_a_mistake_has_its_line_and_the_mend(file: Path, line: str, said: str) -> None:
    file.write_text(f"10.0.0.0/8\n# more\n{line}\n10.0.0.0/8\n")
    assert mistakes(file) == [f"3: {SHOULD} {said}"]


def test_the_first_few_mistakes_are_told(file: Path) -> None:
    file.write_text("10.0.0.1\n" + "x\n" * 100)
    assert mistakes(file) == [f'{number}: {SHOULD} "x"' for number in range(2, 2 + MAX_MISTAKES)]


def test_the_error_is_one_line_that_names_the_file(file: Path) -> None:
    file.write_text("x\n\ny\n")
    with pytest.raises(SettingError) as caught:
        read_deny_file(str(file))
    assert str(caught.value) == f'{file}:1: {SHOULD} "x"; {file}:3: {SHOULD} "y"'
    assert caught.value.fault is Fault.CONFIGURATION


def test_a_file_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    assert mistakes(file) == [f"cannot read {file}: no such file or directory"]
    assert mistakes(tmp_path) == [f"cannot read {tmp_path}: is a directory"]


def test_a_file_that_is_too_large(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(MAX_DENY_FILE + 1)
    assert mistakes(file) == [f"{file} is larger than 16 MiB, merge its networks"]


def test_as_many_lines_as_there_may_be(file: Path) -> None:
    file.write_text("\n" * (MAX_LINES - 1) + "10.0.0.1\n")
    assert packed("10.0.0.1") in read_deny_file(str(file))
    file.write_text("\n" * MAX_LINES + "10.0.0.1\n")
    assert mistakes(file) == [f"{MAX_LINES + 1}: has more than {MAX_LINES} lines, merge its networks"]


NETWORKS = st.one_of(
    st.builds(lambda n, p: IPv4Network((n, p), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(
        lambda n, p: IPv6Network((n, p), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NETWORKS, max_size=6), st.sampled_from(["compressed", "exploded", "with_netmask"]))
def test_however_networks_are_written(
    file: Path, networks: list[IPv4Network | IPv6Network], form: str
) -> None:
    # A mask is a form of IPv4 alone.
    lines = [
        str(network) if form == "with_netmask" and network.version == 6 else getattr(network, form)
        for network in networks
    ]
    file.write_text("\n".join(lines))
    expected, read = NetworkSet(networks), read_deny_file(str(file))
    assert inside(read) == inside(expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("0123456789abcdef:./%# \n-"), max_size=30))
def test_a_line_is_read_as_a_value_of_the_configuration_would_be(file: Path, text: str) -> None:
    file.write_text(text)
    values = [line.partition("#")[0].strip() for line in text.split("\n")]
    try:
        expected = NetworkSet(Network.parse(value).network for value in values if value)
    except ValueError:
        assert mistakes(file)
    else:
        assert inside(read_deny_file(str(file))) == inside(expected)


def test_a_table_without_a_deny_file() -> None:
    assert list(mistakes_in_deny_file(("frontends", "a", "access"), AccessConfig())) == []


def test_mistakes_are_those_of_the_key(file: Path) -> None:
    file.write_text("\nx\n")
    config = AccessConfig(deny_file=FilePath(file))
    assert list(mistakes_in_deny_file(("frontends", "a", "access"), config)) == [
        Mistake(("frontends", "a", "access", "deny_file"), f'{file}:2: {SHOULD} "x"')
    ]


def test_mistakes_keep_the_balancer_from_starting(file: Path, tmp_path: Path) -> None:
    file.write_text("10.0.0.0/8\n10.0.0.1/8\nx\n")
    config = tmp_path / "tcpbalance.toml"
    config.write_text(
        "[frontends.db]\n"
        'listen = "127.0.0.1:0"\n'
        'pool = "bd"\n'
        "[frontends.db.access]\n"
        'deny = ["10.0.0.0/8"]\n'
        'deny_file = "banned.txt"\n'
        "[pools.db]\n"
        'backends = ["127.0.0.1:1"]\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_config(config)
    key = f"{config}:6: frontends.db.access.deny_file"
    assert str(caught.value).splitlines() == [
        f'{config}:3: frontends.db.pool: no pool is named "bd", the pools are "db"',
        (
            f'{key}: {file}:2: {SHOULD} "10.0.0.1/8": no bit may be set behind the prefix, did you mean '
            '"10.0.0.0/8"?'
        ),
        f'{key}: {file}:3: {SHOULD} "x"',
    ]


def test_a_hundred_thousand_networks(file: Path) -> None:
    file.write_text("\n".join(f"{IPv4Address(number << 12)}/24" for number in range(100_000)))
    denied = read_deny_file(str(file))
    assert packed(str(IPv4Address(99_999 << 12))) in denied
    assert packed(str(ip_network("255.0.0.0/8")[0])) not in denied


def test_many_networks_in_any_order(file: Path) -> None:
    """They are sorted in pieces, and these are merged."""
    numbers = list(range(4 * PIECE + 1))
    Random(1).shuffle(numbers)
    file.write_text("\n".join(f"{IPv4Address(number << 12)}/24" for number in numbers))
    denied = read_deny_file(str(file))
    assert all(packed(str(IPv4Address(number << 12))) in denied for number in numbers)
    assert not any(packed(str(IPv4Address((number << 12) + 256))) in denied for number in numbers)


@pytest.mark.parametrize("kind", ["networks", "comments"])
def test_whoever_reads_a_long_file_rests_after_each_piece(file: Path, kind: str) -> None:
    """While the lines are read, and while the networks are put in order."""
    pieces = 8
    lines = [f"{IPv4Address(number << 12)}/24" for number in range(pieces * PIECE)]
    file.write_text("\n".join(lines if kind == "networks" else ["# nothing"] * len(lines)))
    rests: list[None] = []
    read_deny_file(str(file), lambda: rests.append(None))
    assert len(rests) == (2 * pieces if kind == "networks" else pieces)


def test_one_that_has_changed_is_read_with_rests_and_used_when_asked_to(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[None] = []
    monkeypatch.setattr(lists, "give_way", lambda: rests.append(None))
    file.write_text("192.0.2.1\n" * 2 * PIECE)
    config = AccessConfig(deny_file=FilePath(str(file)))
    admission = AdmissionControl(read_access(config), LimitsConfig(), time.monotonic)
    assert rests == [], "at the start nobody is served yet"
    file.write_text("192.0.2.2\n" * 2 * PIECE)
    use = DenyFile(admission, config).prepare()
    assert len(rests) == 4
    assert admission.admit(packed("192.0.2.1")) is Refusal.DENIED
    use()
    assert admission.admit(packed("192.0.2.1")) is None
    assert admission.admit(packed("192.0.2.2")) is Refusal.DENIED


@pytest.mark.parametrize("dry_run", [True, False])
def test_whether_lists_are_a_dry_run_is_theirs(dry_run: bool) -> None:
    assert read_access(AccessConfig(deny=["192.0.2.0/24"], dry_run=dry_run)).dry_run is dry_run
