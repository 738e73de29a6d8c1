"""Backends as they are described and refused."""

from __future__ import annotations

from typing import Any

import pytest

from tcpbalance.config.addresses import Address
from tcpbalance.errors import SettingError
from tcpbalance.pool.backend import Backend


def test_a_text_is_parsed_and_names_it() -> None:
    backend = Backend("[2001:db8::1]:443")
    assert backend.address == Address.parse("[2001:db8::1]:443")
    assert backend.name == "[2001:db8::1]:443"


def test_it_starts_up_idle_and_never_measured() -> None:
    backend = Backend(Address.parse("unix:/run/app.sock"), name="app")
    assert (backend.up, backend.active, backend.cooldown_until, backend.connect_time.measured) == (
        True,
        0,
        0.0,
        False,
    )


def test_two_with_the_same_words_are_two() -> None:
    assert Backend("192.0.2.1:80") != Backend("192.0.2.1:80")
    assert len({Backend("192.0.2.1:80"), Backend("192.0.2.1:80")}) == 2


def test_it_is_full_at_its_limit() -> None:
    backend = Backend("192.0.2.1:80", max_connections=2)
    backend.active = 1
    assert not backend.full
    backend.active = 2
    assert backend.full


def test_without_a_limit_it_is_never_full() -> None:
    backend = Backend("192.0.2.1:80")
    backend.active = 10**9
    assert not backend.full


@pytest.mark.parametrize("weight", [0, -3, 257, 1.5, "2", None, True])
def test_weights_out_of_range_are_refused(weight: object) -> None:
    with pytest.raises(SettingError, match=r"^backend db: weight must be (1 to 256|a whole number), got "):
        Backend("192.0.2.1:80", name="db", weight=weight)  # type: ignore[arg-type] # what is refused


@pytest.mark.parametrize("limit", [0, -1, True, 2.5])
def test_a_limit_below_one_is_refused(limit: Any) -> None:
    with pytest.raises(
        SettingError, match=r"^backend db: max_connections must be (at least 1|a whole number)"
    ):
        Backend("192.0.2.1:80", name="db", max_connections=limit)


def test_a_port_that_nobody_can_connect_to_is_refused() -> None:
    with pytest.raises(
        SettingError,
        match=r"^backend web\.internal:0: address must have a port from 1 to 65535, got \"web\.internal:0\"$",
    ):
        Backend("web.internal:0")


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingError, match="nonsense"):
        Backend("nonsense")
