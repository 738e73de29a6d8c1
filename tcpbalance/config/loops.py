"""Finds pools whose connections come back to them: a backend that is a listener of our own.

One client of such a pool makes thousands of sessions a second, until a limit ends it. Frontends that lead to
other frontends are allowed as long as no way leads back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv6Address, ip_address

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.errors import Mistake, Severity, key_text
from tcpbalance.config.rules import BackendFacts, Facts, FrontendFacts

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # recognised here, not listened on
"""All addresses of a family, and where the system connects to that is told to connect to them."""

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


UNKNOWN = Machine()
"""Any machine: what is found with it holds wherever the configuration is used."""


def loops(facts: Facts, machine: Machine = UNKNOWN, severity: Severity = Severity.FATAL) -> Iterator[Mistake]:
    """Yield a mistake for each backend through which connections come back to its pool.

    :param machine: what may be taken into account.
    :param severity: of the mistakes.
    """
    listens = _by_port(facts)
    addresses = {backend.path: backend.address for pool in facts.pools for backend in pool.backends}
    targets = {
        (str(pool.path[-1]), backend.path): _reached(backend, listens, machine)
        for pool in facts.pools
        for backend in pool.backends
    }
    onward: defaultdict[str, set[str]] = defaultdict(set)
    for (pool, _), frontends in targets.items():
        for frontend in frontends:
            onward[pool] |= _pools(frontend)
    for (pool, path), frontends in targets.items():
        for frontend in frontends:
            if pool in _all_reached(_pools(frontend), onward):
                yield Mistake(path, _message(addresses[path], frontend, pool), severity)
                break


def _by_port(facts: Facts) -> Mapping[int | None, list[tuple[Address, FrontendFacts]]]:
    """Give all listeners by their port; None for unix sockets. Of port 0 nobody knows which it will be."""
    found: defaultdict[int | None, list[tuple[Address, FrontendFacts]]] = defaultdict(list)
    for frontend in facts.frontends:
        for _, address in frontend.listens:
            if address.port != 0:
                found[address.port].append((address, frontend))
    return found


def _reached(
    backend: BackendFacts,
    listens: Mapping[int | None, list[tuple[Address, FrontendFacts]]],
    machine: Machine,
) -> list[FrontendFacts]:
    """Give the frontends that a connection to a backend would come to."""
    address = backend.address
    if address is None:
        return []
    return [
        frontend
        for listen, frontend in listens.get(address.port, ())
        if (_same_file if address.is_unix else _same_host)(address, listen, machine)
    ]


def _same_file(address: Address, listen: Address, machine: Machine) -> bool:
    assert address.path is not None
    assert listen.path is not None
    return machine.real_path(address.path) == machine.real_path(listen.path)


def _same_host(address: Address, listen: Address, machine: Machine) -> bool:
    assert address.host is not None
    assert listen.host is not None
    if listen.host in _ANY:
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
    return frozenset({_ANY.get(plain, plain)})


def _family(ip: str) -> bool:
    return ":" in ip


def _pools(frontend: FrontendFacts) -> set[str]:
    """Give the names of the pools that a frontend leads to."""
    named = [frontend.pool, *(route.pool for route in frontend.routes)]
    return {pool for pool in named if pool is not None}


def _all_reached(first: set[str], onward: Mapping[str, set[str]]) -> set[str]:
    """Give the pools that connections to some pools may come to."""
    seen: set[str] = set()
    ahead = list(first)
    while ahead:
        pool = ahead.pop()
        if pool not in seen:
            seen.add(pool)
            ahead += onward.get(pool, ())
    return seen


def _message(address: Address | None, frontend: FrontendFacts, pool: str) -> str:
    leads = "leads" if pool in _pools(frontend) else "leads through others"
    return (
        f"{address} is where {key_text(frontend.path)} listens, which {leads} to this pool again: "
        "connections would go in circles, name a server behind the balancer"
    )
