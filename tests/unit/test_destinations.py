"""Where tunnels may lead, as it is written and as it is decided."""

from __future__ import annotations

import pytest

from tcpbalance.config.addresses import Address, Network
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.destinations import Destination
from tcpbalance.errors import SettingError
from tcpbalance.http.connect.destinations import Destinations

PUBLIC = "93.184.216.34"
OWN = "198.35.26.96"


def allowing(*allow: str, private: tuple[str, ...] = ()) -> Destinations:
    networks = [Network.parse(network).network for network in private]
    return Destinations(map(Destination.parse, allow), networks, is_own=lambda ip: ip == OWN)


def has(destinations: Destinations, text: str) -> bool:
    return destinations.has(Address.parse(text))


def dials(destinations: Destinations, asked: str, host: str) -> bool:
    return destinations.may_dial(Address.parse(asked), host)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("www.Example.com:443", "www.example.com:443"),
        ("*.example.com:8443", "*.example.com:8443"),
        ("*:443", "*:443"),
        ("10.0.0.0/8:22", "10.0.0.0/8:22"),
        ("10.0.0.7:22", "10.0.0.7/32:22"),
        ("[fd00::/8]:22", "[fd00::/8]:22"),
        ("[2001:DB8::1]:22", "[2001:db8::1/128]:22"),
        ("b\u00fccher.example:443", "xn--bcher-kva.example:443"),
    ],
)
def test_a_destination_has_one_spelling(text: str, shown: str) -> None:
    assert str(Destination.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "www.example.com",
        "www.example.com:",
        "www.example.com:0",
        "www.example.com:65536",
        "www.example.com:https",
        "https://www.example.com:443",
        "*.*:443",
        "a.*.example:443",
        "10.0.0.1/8:443",
        "10.0.0.256:443",
        "fd00::1:443",
        "[fd00::1]",
        "[www.example.com]:443",
        "unix:/run/app.sock",
        443,
        None,
    ],
)
def test_anything_else_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(SettingError, match="must be a destination such as"):
        Destination.parse(text)


def test_a_name_is_allowed_with_its_port_alone() -> None:
    destinations = allowing("www.example.com:443", "*.internal.example:8443")
    assert has(destinations, "WWW.example.com:443")
    assert not has(destinations, "www.example.com:80")
    assert not has(destinations, "example.com:443")
    assert has(destinations, "a.b.internal.example:8443")
    assert not has(destinations, "internal.example:8443")
    assert not has(destinations, "internal.example.evil.example:8443")
    assert not has(destinations, f"{PUBLIC}:443")


def test_a_name_may_lead_to_public_addresses_alone() -> None:
    destinations = allowing("www.example.com:443")
    assert dials(destinations, "www.example.com:443", PUBLIC)
    for private in (
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:10.0.0.1",
        "fd00::1",
        "fe80::1",
    ):
        assert not dials(destinations, "www.example.com:443", private)


def test_an_address_of_this_machine_is_private() -> None:
    destinations = allowing("*:443")
    assert not dials(destinations, "www.example.com:443", OWN)
    assert not has(destinations, f"{OWN}:443")
    assert dials(allowing("*:443", private=(f"{OWN}/32",)), "www.example.com:443", OWN)


def test_a_private_network_is_for_names() -> None:
    destinations = allowing("*.internal.example:443", private=("10.1.0.0/16", "fd00::/8"))
    assert dials(destinations, "a.internal.example:443", "10.1.2.3")
    assert dials(destinations, "a.internal.example:443", "::ffff:10.1.2.3")
    assert dials(destinations, "a.internal.example:443", "fd00::1")
    assert not dials(destinations, "a.internal.example:443", "10.2.0.1")
    assert not has(destinations, "10.1.2.3:443")
    assert not has(allowing("*:443", private=("10.1.0.0/16",)), "10.1.2.3:443")


def test_addresses_in_the_list_may_be_asked_for() -> None:
    destinations = allowing("10.1.0.0/16:22", "[fd00::/8]:22", "db.internal.example:22")
    assert has(destinations, "10.1.2.3:22")
    assert has(destinations, "[fd00::5]:22")
    assert has(destinations, "[::ffff:10.1.2.3]:22")
    assert not has(destinations, "10.1.2.3:443")
    assert not has(destinations, "10.2.2.3:22")
    # The same address is reached by name, since it can be reached as such.
    assert dials(destinations, "db.internal.example:22", "10.1.2.3")


def test_all_is_all_names_and_all_public_addresses() -> None:
    destinations = allowing("*:443")
    assert has(destinations, "anything.example:443")
    assert has(destinations, f"{PUBLIC}:443")
    assert not has(destinations, "anything.example:80")
    for private in ("127.0.0.1", "10.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"):
        assert not has(destinations, f"{private}:443")


def test_other_spellings_of_an_address_are_names_without_one() -> None:
    destinations = allowing("*:443")
    for spelling in ("127.1:443", "2130706433:443", "0x7f.1:443", "0177.0.0.1:443"):
        try:
            asked = Address.parse(spelling)
        except SettingError:
            continue
        assert not destinations.may_dial(asked, "127.0.0.1")


def test_the_table_needs_a_destination() -> None:
    with pytest.raises(SettingError, match="must have at least one destination"):
        ConnectConfig(allow=())
