"""The forms that values take, and what is said of those that take none."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.config.addresses import Address, HostName, Network
from tcpbalance.config.names import AlpnName
from tcpbalance.config.paths import FileMode, FilePath, GroupName, LogPath, UserName
from tcpbalance.config.quantities import Bandwidth, Duration, Fraction, Rate, Size

TYPES: list[Callable[[object], object]] = [
    kind.parse
    for kind in (
        Duration,
        Size,
        Bandwidth,
        Fraction,
        Rate,
        Address,
        Network,
        LogPath,
        FileMode,
        UserName,
        GroupName,
        HostName,
        AlpnName,
        FilePath,
    )
]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.dates(),
    st.from_regex(r"[-+0-9a-zA-Z.:/%\[\]]{0,20}", fullmatch=True),
    st.from_regex(r"[0-9]{1,20}([KMG]i)?B?(/s)?", fullmatch=True),
    st.integers(0, 10**5000),
)


def refusal(parse: Callable[[object], object], value: object) -> str:
    """Give what is said against a value, nothing when it is read."""
    try:
        parse(value)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("parse", TYPES)
@given(value=ANYTHING)
def test_refuses_with_one_short_line_or_reads(parse: Callable[[object], object], value: object) -> None:
    said = refusal(parse, value)
    assert said.isprintable()
    assert len(said) < 500
    assert not said or said.startswith("must be ")


@pytest.mark.parametrize("parse", TYPES)
@given(value=ANYTHING)
def test_what_is_read_is_written_so_that_it_reads_the_same(
    parse: Callable[[object], object], value: object
) -> None:
    try:
        read = parse(value)
    except ValueError:
        return
    # A small number of bytes is written without quotes, so TOML would give it as a number.
    again: object = str(read)
    assert parse(int(read) if isinstance(read, Size) else again) == read


class TestDuration:
    @pytest.mark.parametrize(
        ("written", "seconds"),
        [
            ("250ms", 0.25),
            ("2s", 2.0),
            ("1.5s", 1.5),
            ("5m", 300.0),
            ("1h", 3600.0),
            ("0s", 0.0),
            (0, 0.0),
            (3, 3.0),
            (0.5, 0.5),
        ],
    )
    def test_forms(self, written: object, seconds: float) -> None:
        read = Duration.parse(written)
        assert isinstance(read, Duration)
        assert read == seconds

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.0, "0s"),
            (0.25, "250ms"),
            (1.5, "1500ms"),
            (2.0, "2s"),
            (90.0, "90s"),
            (300.0, "5m"),
            (5400.0, "90m"),
            (86400.0, "24h"),
            (0.0005, "0.0005s"),
        ],
    )
    def test_text(self, seconds: float, text: str) -> None:
        assert str(Duration(seconds)) == text

    @pytest.mark.parametrize(
        ("written", "got"),
        [
            ("5x", '"5x"'),
            ("", '""'),
            ("5", '"5"'),
            ("-1s", '"-1s"'),
            ("1h30m", '"1h30m"'),
            ("1 s", '"1 s"'),
            ("٣s", '"٣s"'),
            (-1, "-1"),
            (-0.1, "-0.1"),
            (float("nan"), "nan"),
            (float("inf"), "inf"),
            (True, "true"),
            ([], "an empty list"),
            ({}, "a table"),
        ],
    )
    def test_refuses(self, written: object, got: str) -> None:
        with pytest.raises(ValueError, match="must be") as caught:
            Duration.parse(written)
        assert str(caught.value) == (
            f'must be a duration such as "250ms", "2s", "5m", "1h" or a number of seconds, got {got}'
        )

    @pytest.mark.parametrize("written", ["87841h", "9" * 400 + "s", 10**20, 1e300])
    def test_refuses_what_is_meant_for_ever(self, written: object) -> None:
        with pytest.raises(ValueError, match="at most ten years"):
            Duration.parse(written)


class TestSize:
    @pytest.mark.parametrize(
        ("written", "count", "text"),
        [
            ("64KiB", 65536, "64KiB"),
            ("1MiB", 1048576, "1MiB"),
            ("2GiB", 2**31, "2GiB"),
            ("1024KiB", 1048576, "1MiB"),
            (1400, 1400, "1400"),
            (65536, 65536, "64KiB"),
            (0, 0, "0"),
        ],
    )
    def test_forms(self, written: object, count: int, text: str) -> None:
        read = Size.parse(written)
        assert isinstance(read, Size)
        assert read == count
        assert str(read) == text

    @pytest.mark.parametrize(
        "written",
        ["64KB", "64", "1.5MiB", "-1KiB", -1, 1.0, False, 2**63, "9" * 5000 + "GiB", "9" * 19 + "GiB"],
    )
    def test_refuses(self, written: object) -> None:
        with pytest.raises(
            ValueError, match=r'must be a size such as "64KiB", .* or a number of bytes, got '
        ):
            Size.parse(written)


class TestBandwidth:
    @pytest.mark.parametrize(
        ("written", "count", "text"),
        [
            ("10MiB/s", 10485760, "10MiB/s"),
            ("500KiB/s", 512000, "500KiB/s"),
            ("1GiB/s", 2**30, "1GiB/s"),
            ("1024KiB/s", 1048576, "1MiB/s"),
            ("1B/s", 1, "1B/s"),
            ("1000B/s", 1000, "1000B/s"),
            ("2048B/s", 2048, "2KiB/s"),
        ],
    )
    def test_forms(self, written: object, count: int, text: str) -> None:
        read = Bandwidth.parse(written)
        assert isinstance(read, Bandwidth)
        assert read == count
        assert str(read) == text

    @pytest.mark.parametrize(
        "written",
        [
            "10MiB",
            "10MB/s",
            "10Mbit/s",
            "1.5MiB/s",
            "1000/s",
            "60MiB/m",
            "0KiB/s",
            "-1KiB/s",
            "1 MiB/s",
            "9" * 5000 + "B/s",
            "9" * 19 + "B/s",
            1000,
            1.0,
            True,
        ],
    )
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match=r'must be a bandwidth such as "10MiB/s", .* got '):
            Bandwidth.parse(written)


class TestFraction:
    @pytest.mark.parametrize(
        ("written", "part", "text"),
        [
            ("50%", 0.5, "50%"),
            ("0%", 0.0, "0%"),
            ("100%", 1.0, "100%"),
            ("12.5%", 0.125, "12.5%"),
            (0, 0.0, "0%"),
        ],
    )
    def test_forms(self, written: object, part: float, text: str) -> None:
        read = Fraction.parse(written)
        assert read == part
        assert str(read) == text

    @pytest.mark.parametrize("written", ["101%", "100.1%", "-1%", "50", "half", 1, 0.5, False, float("nan")])
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match=r'must be a percentage from "0%" to "100%", got '):
            Fraction.parse(written)


class TestRate:
    @pytest.mark.parametrize(("written", "rate"), [("50/s", Rate(50, 1)), ("600/m", Rate(600, 60))])
    def test_forms(self, written: str, rate: Rate) -> None:
        assert Rate.parse(written) == rate
        assert str(rate) == written

    @pytest.mark.parametrize("written", ["50", "0/s", "5/ms", "-5/s", "1.5/s", "5/d", 50, True])
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match=r'must be a rate such as "50/s", '):
            Rate.parse(written)


class TestNetwork:
    @pytest.mark.parametrize(
        ("written", "text"),
        [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
        ],
    )
    def test_forms(self, written: str, text: str) -> None:
        read = Network.parse(written)
        assert read.network == ipaddress.ip_network(text)
        assert str(read) == text

    def test_names_the_network_meant(self) -> None:
        with pytest.raises(ValueError, match=r'did you mean "10\.0\.0\.0/8"\?'):
            Network.parse("10.1.2.3/8")

    @pytest.mark.parametrize("written", ["10.0.0.0/33", "example.com", "", 1, True, None])
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match=r'must be a network such as "10\.0\.0\.0/8"'):
            Network.parse(written)


class TestAddress:
    @pytest.mark.parametrize(
        ("written", "address"),
        [
            ("10.0.0.11:5432", Address("10.0.0.11", 5432)),
            ("[2001:db8::1]:443", Address("2001:db8::1", 443)),
            ("[::]:0", Address("::", 0)),
            ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
            ("db1.internal:5432", Address("db1.internal", 5432)),
            ("db_1.internal.:5432", Address("db_1.internal.", 5432)),
            ("unix:/run/app.sock", Address(path="/run/app.sock")),
            ("unix:app:1.sock", Address(path="app:1.sock")),
        ],
    )
    def test_forms(self, written: str, address: Address) -> None:
        assert Address.parse(written) == address
        assert str(address) == written

    @pytest.mark.parametrize(
        ("one", "other"),
        [("[2001:DB8:0::1]:80", "[2001:db8::1]:80"), ("DB.Internal:80", "db.internal:80")],
    )
    def test_the_same_are_equal(self, one: str, other: str) -> None:
        assert Address.parse(one) == Address.parse(other)
        assert hash(Address.parse(one)) == hash(Address.parse(other))

    @pytest.mark.parametrize(
        ("written", "why"),
        [
            ("10.0.0.1", "the port is missing"),
            ("db1", "the port is missing"),
            ("[db1]", "the port is missing"),
            ("::1", "the port is missing, and an IPv6 address needs brackets"),
            ("2001:db8::1:443", "the port is missing, and an IPv6 address needs brackets"),
            ("fe80::1%eth0", "the port is missing, and an IPv6 address needs brackets"),
            ("2001:db8::1:44300", "the host has a colon, as only an IPv6 address in brackets may"),
            ("[10.0.0.1]:80", "what is in brackets is not an IPv6 address"),
            ("[fe80::1%a b]:80", "what is in brackets is not an IPv6 address"),
            (":80", "the host is missing, all addresses are 0.0.0.0 or [::]"),
            ("*:80", "the host is missing, all addresses are 0.0.0.0 or [::]"),
            ("10.0.0.256:80", "the host is not an IPv4 address"),
            ("10.0.1:80", "the host is not an IPv4 address"),
            ("[::1", "the host has a colon, as only an IPv6 address in brackets may"),
            ("a b:80", "the host is neither an IP address nor a host name"),
            ("-a:80", "the host is neither an IP address nor a host name"),
            ("münchen.de:80", "the host is neither an IP address nor a host name"),
            ("a." * 127 + "a:80", "the host is neither an IP address nor a host name"),
            ("http://a:80", "the host has a colon, as only an IPv6 address in brackets may"),
            ("a:65536", "the port must be 1 to 65535"),
            ("a:http", "the port must be 1 to 65535"),
            ("a:-1", "the port must be 1 to 65535"),
            ("a:", "the port must be 1 to 65535"),
            ("a:\uff18\uff10", "the port must be 1 to 65535"),
            ("unix:", "the path of the socket is missing"),
            ("unix:/a\0b", "a path has no NUL"),
            (80, "it must be a string"),
            (True, "it must be a string"),
        ],
    )
    def test_refuses(self, written: object, why: str) -> None:
        with pytest.raises(ValueError, match="must be an address such as") as caught:
            Address.parse(written)
        assert str(caught.value).endswith(": " + why)

    @pytest.mark.parametrize(
        ("written", "unix", "numeric"),
        [
            ("10.0.0.1:1", False, True),
            ("[::1]:1", False, True),
            ("[fe80::1%eth0]:1", False, True),
            ("db1:1", False, False),
            ("unix:/a", True, False),
        ],
    )
    def test_kinds(self, written: str, unix: bool, numeric: bool) -> None:
        address = Address.parse(written)
        assert address.is_unix is unix
        assert address.is_numeric is numeric

    @pytest.mark.parametrize(
        ("written", "whole"),
        [
            ("unix:app.sock", "unix:/etc/tcpbalance/app.sock"),
            ("unix:./app.sock", "unix:/etc/tcpbalance/app.sock"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ],
    )
    def test_relative_to_a_folder(self, written: str, whole: str) -> None:
        assert str(Address.parse(written).under(Path("/etc/tcpbalance"))) == whole

    def test_the_whole_path_fits_a_socket(self) -> None:
        longest = Address.parse("unix:" + "a" * 104)
        assert longest.under(Path("/e")).path == "/e/" + "a" * 104
        with pytest.raises(ValueError, match="at most 107 bytes in all, got 108"):
            longest.under(Path("/et"))


class TestLogPath:
    @pytest.mark.parametrize(
        ("written", "whole"), [("-", "-"), ("a.log", "/etc/a.log"), ("/var/a.log", "/var/a.log")]
    )
    def test_relative_to_a_folder(self, written: str, whole: str) -> None:
        assert LogPath.parse(written).under(Path("/etc")) == whole

    @pytest.mark.parametrize("written", ["", "a\0b", 1, True, []])
    def test_refuses(self, written: Any) -> None:
        with pytest.raises(ValueError, match='must be the name of a file or "-" for standard output, got '):
            LogPath.parse(written)


class TestHostName:
    @pytest.mark.parametrize(
        ("written", "name"),
        [
            ("web.internal", "web.internal"),
            ("WEB.Internal.", "web.internal"),
            ("web", "web"),
            ("db_1.internal", "db_1.internal"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("10.0.0.11", "10.0.0.11"),
            ("2001:DB8:0::1", "2001:db8::1"),
        ],
    )
    def test_forms(self, written: str, name: str) -> None:
        read = HostName.parse(written)
        assert isinstance(read, HostName)
        assert read == name

    @pytest.mark.parametrize(
        ("written", "got"),
        [
            ("", '""'),
            ("a b", '"a b"'),
            ("*.web.internal", '"*.web.internal"'),
            ("a.*.internal", '"a.*.internal"'),
            ("web.internal:443", '"web.internal:443"'),
            ("https://web.internal", '"https://web.internal"'),
            ("10.0.0.256", '"10.0.0.256"'),
            ("10.0.0.0/8", '"10.0.0.0/8"'),
            ("[::1]", '"[::1]"'),
            ("fe80::1%eth0", '"fe80::1%eth0"'),
            ("-a", '"-a"'),
            (1, "1"),
            (True, "true"),
            ([], "an empty list"),
        ],
    )
    def test_refuses(self, written: object, got: str) -> None:
        with pytest.raises(ValueError, match="must be") as caught:
            HostName.parse(written)
        said = f'must be a host name such as "web.internal" or an IP address, got {got}'
        assert str(caught.value) == said


class TestAlpnName:
    @pytest.mark.parametrize("written", ["http/1.1", "h2", "a b", "x" * 255])
    def test_forms(self, written: str) -> None:
        assert AlpnName.parse(written) == written

    @pytest.mark.parametrize("written", ["", "x" * 256, "ä", "a\n", 1, True, []])
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match="must be the name of a protocol such as"):
            AlpnName.parse(written)


class TestFilePath:
    @pytest.mark.parametrize(
        ("written", "whole"),
        [
            ("web.pem", "/etc/web.pem"),
            ("tls/web.pem", "/etc/tls/web.pem"),
            ("/run/web.pem", "/run/web.pem"),
            ("-", "/etc/-"),
        ],
    )
    def test_relative_to_a_folder(self, written: str, whole: str) -> None:
        assert FilePath.parse(written).under(Path("/etc")) == whole

    @pytest.mark.parametrize("written", ["", "a\0b", 1, True, []])
    def test_refuses(self, written: object) -> None:
        with pytest.raises(ValueError, match="must be the name of a file, got "):
            FilePath.parse(written)
