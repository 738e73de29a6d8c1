"""Which addresses are public: those that the whole internet can reach, and no other machine than this.

Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), and the IPv6 address space, of
which 2000::/3 is given out. Addresses that carry one of IPv4 inside, as those of NAT64, 6to4 and Teredo do,
lead to wherever that is, and are not public. The standard library's ``is_global`` changes with the version of
Python, and takes those of NAT64 for public.
"""

from __future__ import annotations

from ipaddress import ip_network

from tcpbalance.admission.networks import NetworkSet

_NOT_PUBLIC = (
    "0.0.0.0/8",  # "this network"; a connection to 0.0.0.0 is one to this machine
    "10.0.0.0/8",
    "100.64.0.0/10",  # behind the NAT of a provider
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, and where clouds give machines their secrets
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",  # multicast, reserved, broadcast
    "::/3",  # the loopback, all forms with an IPv4 address inside, and NAT64 (64:ff9b::/96) among it
    "2001::/23",  # Teredo, ORCHID
    "2001:db8::/32",
    "2002::/16",  # 6to4
    "3fff::/20",
    "4000::/2",
    "8000::/1",  # ULA (fc00::/7), link-local (fe80::/10), multicast
)

NOT_PUBLIC = NetworkSet(map(ip_network, _NOT_PUBLIC))


def is_public(packed: bytes | None) -> bool:
    """Whether an address is public.

    :param packed: as ``addresses.packed`` gives it, so that IPv4 in the form of IPv6 is IPv4.
    """
    return packed is not None and packed not in NOT_PUBLIC
