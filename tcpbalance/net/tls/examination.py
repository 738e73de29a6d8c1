"""Finds what is wrong in the files that a configuration names, before anything starts."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tcpbalance.config.errors import Flaw, KeyPath
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig, TlsConfig
from tcpbalance.net.tls.contexts import add_chain, new_context, trust
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.files import read_chain, read_revocations


def flaws_in_files(path: KeyPath, config: TlsConfig, now: float | None = None) -> Iterator[Flaw]:
    """Try all files of a table, each for itself, so that one that is bad hides no other.

    :param path: where the table stands.
    :param now: seconds since the epoch; None for the system's.
    """
    moment = time.time() if now is None else now
    if isinstance(config, FrontendTlsConfig):
        for index, pair in enumerate(config.certificates):
            yield from _flaws_in_pair((*path, "certificates", index), pair, moment)
        yield from _flaws_in_trust(
            path, ("client_ca", config.client_ca), ("client_crl", config.client_crl), moment
        )
    else:
        yield from _flaws_in_pool(path, config, moment)


def _flaws_in_pool(path: KeyPath, config: PoolTlsConfig, now: float) -> Iterator[Flaw]:
    if config.certificate is not None:
        yield from _flaws_in_pair((*path, "certificate"), config.certificate, now)
    yield from _flaws_in_trust(path, ("ca", config.ca), ("crl", config.crl), now)


def _flaws_in_pair(path: KeyPath, pair: CertificateConfig, now: float) -> Iterator[Flaw]:
    try:
        add_chain(new_context(), read_chain(pair, now))
    except TlsFileError as error:
        yield Flaw((*path, error.key), str(error))


def _flaws_in_trust(
    path: KeyPath, ca: tuple[str, str | None], crl: tuple[str, str | None], now: float
) -> Iterator[Flaw]:
    key, authorities = ca
    try:
        if authorities is not None:
            trust(new_context(), key, authorities)
    except TlsFileError as error:
        yield Flaw((*path, error.key), str(error))
        authorities = None
    key, lists = crl
    try:
        if lists is not None:
            read_revocations(key, lists, now, authorities)
    except TlsFileError as error:
        yield Flaw((*path, error.key), str(error))
