"""TLS towards clients: which certificate is shown for which name, and what is asked of clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from tcpbalance.config.tls import FrontendTlsConfig
from tcpbalance.net.tls.connection import Connection
from tcpbalance.net.tls.contexts import add_chain, name_authorities, new_context, trust, use_revocations
from tcpbalance.net.tls.files import Chain
from tcpbalance.net.tls.material import Material, read_material
from tcpbalance.net.tls.verification import note_why
from tcpbalance.wire.server_names import NameMap, check_pattern

Contexts = NameMap[SSL.Context]


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Makes the connections of a frontend that speaks TLS with its clients.

    :param config: certificates, and what is asked of clients.
    :param wall_clock: seconds since the epoch.
    :param answer_to_http: gives what a client is answered that speaks HTTP without TLS; None for nothing.
    :ivar files: all that were read.
    :ivar warnings: what of them is out of date: a certificate is shown all the same where there is no other
        for the name, and of an authority whose revocation list is out of date, no client is accepted.
    :raises TlsFileError: one of the files cannot be used.
    """

    def __init__(
        self,
        config: FrontendTlsConfig,
        wall_clock: Callable[[], float] = time.time,
        answer_to_http: Callable[[], bytes] | None = None,
    ) -> None:
        self._config = config
        self._wall_clock = wall_clock
        self._answer_to_http = answer_to_http
        self.files = tuple(dict.fromkeys(_files(config)))
        self._material: Material | None = None
        self.reload()

    def reload(self) -> None:
        """Read all files anew now; see `prepare`."""
        self.prepare()()

    def prepare(self) -> Callable[[], None]:
        """Read all files anew; may be called in a thread.

        :returns: lets handshakes use them from then on. New contexts also have a new key for their session
            tickets, chosen by OpenSSL.
        :raises TlsFileError: one of the files cannot be used, or what is out of date in it would take the
            place of what is not; all stays as it was.
        """
        now, config = self._wall_clock(), self._config
        material = read_material(
            config.certificates, ("client_ca", config.client_ca), ("client_crl", config.client_crl), now
        )
        if self._material is not None:
            material.refuse_if_worse(self._material, "client_ca", "client_crl", now)
        context = _build(config, material, now)

        def commit() -> None:
            self._context, self._material = context, material
            self.warnings = material.warnings(now)
            self._span = material.span(now)

        return commit

    def is_outdated(self) -> bool:
        """Whether something has gone out of date, or become valid, since the files were read."""
        start, end = self._span
        return not start <= self._wall_clock() < end

    def connection(self) -> Connection:
        """Begin with a client."""
        connection = Connection(self._context)
        if self._answer_to_http is not None:
            connection.answer_to_http = self._answer_to_http
        connection.set_accept_state()
        return connection

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """Twisted's call."""
        return self.connection()


def _files(config: FrontendTlsConfig) -> Iterator[str]:
    for pair in config.certificates:
        yield from (pair.cert, pair.key)
    yield from filter(None, (config.client_ca, config.client_crl))


def _build(config: FrontendTlsConfig, material: Material, now: float) -> SSL.Context:
    """Make the context that all handshakes begin with: the first certificate's, which finds the others."""
    read = material.chains
    by_name = _with_wildcards(_by_name(read))
    first = [read[0], *(chain for name in _patterns(read[0]) for chain in by_name[name])]
    default = _side_by_side(first, now)
    groups = {name: _side_by_side(chains, now) for name, chains in by_name.items()}
    made: dict[tuple[Chain, ...], SSL.Context] = {}
    for group in [default, *groups.values()]:
        if group not in made:
            made[group] = _context(config, group, material)
    entries = [(name, made[group]) for name, group in groups.items()]
    # Also where there is nothing to choose: a name that is not looked at is not kept in a session of TLS 1.2.
    choose = _chooser(NameMap(entries, deep=False)) if len(made) > 1 else _take_note
    made[default].set_tlsext_servername_callback(choose)
    return made[default]


def _by_name(read: Sequence[Chain]) -> Mapping[str, list[Chain]]:
    found: dict[str, list[Chain]] = {}
    for chain in read:
        for name in _patterns(chain):
            found.setdefault(name, []).append(chain)
    return found


def _with_wildcards(by_name: Mapping[str, list[Chain]]) -> dict[str, list[Chain]]:
    """Add to each name the certificates of a wildcard that fits it: they may have the other kind of key."""
    return {
        name: [*found, *by_name.get(f"*.{name.partition('.')[2]}", ())] for name, found in by_name.items()
    }


def _patterns(chain: Chain) -> list[str]:
    """The names of a certificate that a client can ask for; others, such as ``*``, are never asked for."""
    patterns = []
    for name in chain.names:
        try:
            patterns.append(check_pattern(name))
        except ValueError:
            continue
    return list(dict.fromkeys(patterns))


def _side_by_side(chains: Sequence[Chain], now: float) -> tuple[Chain, ...]:
    """Of certificates that would do, the first for each kind of key: the client's algorithms choose.

    One that is out of date is shown only where all are: a client may be set to take it all the same.
    """
    valid = [chain for chain in chains if chain.validity.mistake(now) is None]
    by_kind: dict[str, Chain] = {}
    for chain in valid or chains:
        by_kind.setdefault(chain.key_kind, chain)
    return tuple(by_kind.values())


def _context(config: FrontendTlsConfig, group: tuple[Chain, ...], material: Material) -> SSL.Context:
    context = new_context(config.minimum_version)
    # Tickets hold all there is to a session, so nothing is kept here for clients.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"tcpbalance")
    for chain in group:
        add_chain(context, chain)
    if config.alpn:
        context.set_alpn_select_callback(_protocol_chooser([name.encode() for name in config.alpn]))
    if config.client_ca is not None:
        _require_certificates(context, config, config.client_ca, material)
    return context


def _require_certificates(
    context: SSL.Context, config: FrontendTlsConfig, ca: str, material: Material
) -> None:
    """Let in only clients that show a certificate of one of the authorities, which are named to them."""
    trust(context, "client_ca", ca)
    name_authorities(context, "client_ca", ca)
    if config.client_crl is not None:
        use_revocations(context, material.revocations.lists)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, note_why)


def _take_note(connection: SSL.Connection) -> None:
    """There is one context for all names."""


def _chooser(contexts: Contexts) -> Callable[[SSL.Connection], None]:
    def choose(connection: SSL.Connection) -> None:
        name = connection.get_servername()
        found = contexts.lookup(name.decode("ascii", "replace")) if name else None
        if found is not None and found is not connection.get_context():
            connection.set_context(found)

    return choose


def _protocol_chooser(known: Sequence[bytes]) -> Callable[[SSL.Connection, list[bytes]], Any]:
    def choose(_: SSL.Connection, offered: list[bytes]) -> Any:
        return next((name for name in known if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    return choose
