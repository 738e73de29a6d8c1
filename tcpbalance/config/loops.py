"""Finds pools whose connections come back to them: a backend that is a listener of our own.

One client of such a pool makes thousands of sessions a second, until a limit ends it. Frontends that lead to
other frontends are allowed as long as no way leads back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_address

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.draft import UNREAD, readable, tables
from tcpbalance.config.errors import KeyPath, Mistake, Severity, key_text
from tcpbalance.config.frontends import FrontendConfig, pools_of
from tcpbalance.config.pools import PoolConfig

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # recognised here, not listened on
"""All addresses of a family, and the address to which the system connects instead."""

_LOCALHOST = frozenset({"127.0.0.1", "::1"})
"""What the name stands for on every machine: RFC 6761 section 6.3."""


@frozen
class Machine:
    """What is known of the machine that the balancer runs on.

    :param is_own: whether an IP address is one of its addresses, apart from those of the loopback.
    :param look_up: gives the IP addresses of a host name, none where they are not known.
    :param real_path: gives the file that a path leads to.
    """

    is_own: Callable[[str], bool] = lambda ip: False
    look_up: Callable[[str], Collection[str]] = lambda name: ()
    real_path: Callable[[str], str] = lambda path: path


ANY_MACHINE = Machine()
"""Any machine: what is found with it holds wherever the configuration is used."""


@frozen
class Inlet:
    """A frontend, as far as it can be read.

    :param path: where it stands.
    :param listen: its addresses.
    :param pools: the names of those that it leads to.
    """

    path: KeyPath
    listen: tuple[Address, ...]
    pools: frozenset[str]


@frozen
class Outlet:
    """A backend.

    :param path: where it stands.
    :param pool: the name of its pool.
    :param address: where it is connected to.
    """

    path: KeyPath
    pool: str
    address: Address


def inlets(frontends: Mapping[str, FrontendConfig]) -> Iterator[Inlet]:
    """Give the frontends of a configuration."""
    for path, frontend in tables("frontends", frontends):
        yield Inlet(
            path,
            tuple(address for _, address in readable(path, frontend.listen)),
            frozenset(pools_of(frontend)),
        )


def ports_of(inlets: Iterable[Inlet]) -> frozenset[int | None]:
    """Give the ports that are listened on, None for unix sockets: no other leads to a frontend."""
    return frozenset(_by_port(inlets))


def outlets(pools: Mapping[str, PoolConfig], ports: frozenset[int | None]) -> Iterator[Outlet]:
    """Give the backends of a configuration.

    :param ports: those with other ports are left out.
    """
    for path, pool in tables("pools", pools):
        if pool.backends is UNREAD:
            continue
        for index, backend in enumerate(pool.backends):
            # Most are left out here; there may be thousands.
            if backend is not UNREAD and backend.address is not UNREAD and backend.address.port in ports:
                yield Outlet((*path, "backends", index), str(path[-1]), backend.address)


def loops(
    inlets: Iterable[Inlet],
    outlets: Iterable[Outlet],
    machine: Machine = ANY_MACHINE,
    severity: Severity = Severity.FATAL,
) -> Iterator[Mistake]:
    """Yield a mistake for each backend through which connections come back to its pool.

    :param machine: what may be taken into account.
    :param severity: of the mistakes.
    """
    listens = _by_port(inlets)
    reached = [(outlet, _reached(outlet.address, listens, machine)) for outlet in outlets]
    onward: defaultdict[str, set[str]] = defaultdict(set)
    for outlet, found in reached:
        for inlet in found:
            onward[outlet.pool] |= inlet.pools
    for outlet, found in reached:
        for inlet in found:
            if outlet.pool in _all_reached(inlet.pools, onward):
                yield Mistake(outlet.path, _message(outlet, inlet), severity)
                break


def _by_port(inlets: Iterable[Inlet]) -> Mapping[int | None, list[tuple[Address, Inlet]]]:
    """Give all listeners by their port; None for unix sockets. Port 0 is not yet a known port."""
    found: defaultdict[int | None, list[tuple[Address, Inlet]]] = defaultdict(list)
    for inlet in inlets:
        for address in inlet.listen:
            if address.port != 0:
                found[address.port].append((address, inlet))
    return found


def _reached(
    address: Address, listens: Mapping[int | None, list[tuple[Address, Inlet]]], machine: Machine
) -> list[Inlet]:
    """Give the frontends that a connection to an address would come to."""
    same = _same_file if address.is_unix else _same_host
    return [inlet for listen, inlet in listens.get(address.port, ()) if same(address, listen, machine)]


def _same_file(address: Address, listen: Address, machine: Machine) -> bool:
    assert address.path is not None
    assert listen.path is not None
    return machine.real_path(address.path) == machine.real_path(listen.path)


def _same_host(address: Address, listen: Address, machine: Machine) -> bool:
    assert address.host is not None
    assert listen.host is not None
    if listen.host in WILDCARDS:
        return any(
            _family(ip) == _family(listen.host) and (ip_address(ip).is_loopback or machine.is_own(ip))
            for ip in _ips(address.host, machine)
        )
    if address.host == listen.host:
        return True
    return not _ips(address.host, machine).isdisjoint(_ips(listen.host, machine))


def _ips(host: str, machine: Machine) -> frozenset[str]:
    """Give the IP addresses that a connection to a host may go to, without zones."""
    if host.removesuffix(".") == "localhost":
        return _LOCALHOST
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return frozenset(ip.partition("%")[0] for ip in machine.look_up(host))
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    plain = str(mapped or ip)
    return frozenset({WILDCARDS.get(plain, plain)})


def _family(ip: str) -> bool:
    return ":" in ip


def _all_reached(first: Iterable[str], onward: Mapping[str, set[str]]) -> set[str]:
    """Give the pools that connections to some pools may come to."""
    seen: set[str] = set()
    ahead = list(first)
    while ahead:
        pool = ahead.pop()
        if pool not in seen:
            seen.add(pool)
            ahead += onward.get(pool, ())
    return seen


def _message(outlet: Outlet, inlet: Inlet) -> str:
    leads = "leads" if outlet.pool in inlet.pools else "leads through others"
    return (
        f"{outlet.address} is where {key_text(inlet.path)} listens, which {leads} to this pool again: "
        "connections would loop, name a server behind the balancer"
    )
