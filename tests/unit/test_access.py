"""Access lists: deny wins over allow, and an empty allow means all."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tcpbalance.admission.access import Access
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.refusal import Refusal
from tcpbalance.net.addresses import packed


def networks(text: str) -> NetworkSet:
    return NetworkSet(map(ip_network, text.split()))


@pytest.mark.parametrize(
    ("allow", "deny", "listed", "host", "refusal"),
    [
        ("", "", "", "10.0.0.1", None),
        ("10.0.0.0/8", "", "", "10.0.0.1", None),
        ("10.0.0.0/8", "", "", "11.0.0.1", Refusal.NOT_ALLOWED),
        ("10.0.0.0/8", "", "", "2001:db8::1", Refusal.NOT_ALLOWED),
        ("2001:db8::/32", "", "", "2001:db8::1", None),
        ("", "10.0.0.0/8", "", "10.0.0.1", Refusal.DENIED),
        ("", "10.0.0.0/8", "", "11.0.0.1", None),
        ("", "", "10.0.0.0/8", "10.0.0.1", Refusal.DENIED),
        ("10.0.0.1/32", "10.0.0.0/8", "", "10.0.0.1", Refusal.DENIED),
        ("10.0.0.1/32", "", "10.0.0.0/8", "10.0.0.1", Refusal.DENIED),
        ("10.0.0.0/8", "10.9.9.0/24", "10.8.8.0/24", "10.7.7.7", None),
        ("10.0.0.0/8", "10.9.9.0/24", "10.8.8.0/24", "10.9.9.9", Refusal.DENIED),
        ("10.0.0.0/8", "10.9.9.0/24", "10.8.8.0/24", "10.8.8.8", Refusal.DENIED),
        ("", "10.0.0.0/8", "", "::ffff:10.0.0.1", Refusal.DENIED),
        ("", "::ffff:10.0.0.0/104", "", "10.0.0.1", Refusal.DENIED),
        ("10.0.0.0/8", "", "", "::ffff:10.0.0.1", None),
        ("", "2001:db8::/32", "", "fe80::1%eth0", None),
        ("10.0.0.0/8", "0.0.0.0/0", "::/0", "/run/app.sock", None),
    ],
)
def test_who_may_come_in(allow: str, deny: str, listed: str, host: str, refusal: Refusal | None) -> None:
    access = Access(networks(allow), networks(deny), networks(listed))
    assert access.refusal(packed(host)) is refusal


@pytest.mark.parametrize(
    ("allow", "deny", "refusal"),
    [("10.0.0.0/8", "", Refusal.NOT_ALLOWED), ("", "0.0.0.0/0 ::/0", None), ("", "", None)],
)
def test_where_an_address_is_needed_allow_refuses_a_client_without_one(
    allow: str, deny: str, refusal: Refusal | None
) -> None:
    access = Access(networks(allow), networks(deny), needs_address=True)
    assert access.refusal(packed("/run/app.sock")) is refusal
    assert access.decisive_list(packed("/run/app.sock")) == ("allow" if refusal else None)


def test_without_lists_everybody_may() -> None:
    assert Access().refusal(packed("192.0.2.1")) is None


def test_each_refusal_has_a_word_of_its_own() -> None:
    assert len({refusal.word for refusal in Refusal}) == len(Refusal)
    assert all(refusal.meaning for refusal in Refusal)


@pytest.mark.parametrize(
    ("allow", "deny", "listed", "host", "decisive"),
    [
        ("", "", "", "10.0.0.1", None),
        ("", "10.0.0.0/8", "", "11.0.0.1", None),
        ("10.0.0.0/8", "", "", "10.0.0.1", "allow"),
        ("10.0.0.0/8", "", "", "11.0.0.1", "allow"),
        ("10.0.0.0/8", "10.0.0.1", "", "10.0.0.1", "deny"),
        ("10.0.0.0/8", "10.0.0.1", "10.0.0.2", "10.0.0.2", "deny_file"),
        ("10.0.0.0/8", "", "", "/run/app.sock", None),
    ],
)
def test_which_list_decides(allow: str, deny: str, listed: str, host: str, decisive: str | None) -> None:
    access = Access(networks(allow), networks(deny), networks(listed))
    assert access.decisive_list(packed(host)) == decisive
