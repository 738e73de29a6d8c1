"""Finds what is wrong in the files that a configuration names, before anything starts."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tcpbalance.config.errors import KeyPath, Mistake, Severity
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig, TlsConfig
from tcpbalance.net.tls.contexts import load_chain, name_authorities, new_context, trust
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.files import Authorities, read_authorities
from tcpbalance.net.tls.revocation import read_revocations


def mistakes_in_files(path: KeyPath, config: TlsConfig, now: float | None = None) -> Iterator[Mistake]:
    """Try all files of a table, each for itself, so that one that is bad hides no other.

    What is out of date does not stop the start.

    :param path: where the table is.
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


def _flaws_in_pool(path: KeyPath, config: PoolTlsConfig, now: float) -> Iterator[Mistake]:
    if config.certificate is not None:
        yield from _flaws_in_pair((*path, "certificate"), config.certificate, now)
    yield from _flaws_in_trust(path, ("ca", config.ca), ("crl", config.crl), now)


def _flaws_in_pair(path: KeyPath, pair: CertificateConfig, now: float) -> Iterator[Mistake]:
    try:
        mistake = load_chain(pair).validity.mistake(now)
    except TlsFileError as error:
        yield Mistake((*path, error.key), str(error))
    else:
        if mistake is not None:
            yield Mistake((*path, "cert"), mistake, Severity.ERROR)


def _flaws_in_trust(
    path: KeyPath, ca: tuple[str, str | None], crl: tuple[str, str | None], now: float
) -> Iterator[Mistake]:
    key, file = ca
    authorities = Authorities()
    try:
        if file is not None:
            authorities = read_authorities(key, file)
            trust(new_context(), key, file)
            if key == "client_ca":
                name_authorities(new_context(), key, file)
    except TlsFileError as error:
        yield Mistake((*path, error.key), str(error))
    yield from _flaws_in_authorities((*path, key), authorities, now)
    key, file = crl
    if file is not None:
        yield from _flaws_in_lists((*path, key), key, file, authorities, now)


def _flaws_in_authorities(path: KeyPath, authorities: Authorities, now: float) -> Iterator[Mistake]:
    """One of several that is out of date does no harm; where all are, no certificate is trusted."""
    severity = Severity.WARNING if authorities.is_any_valid(now) else Severity.ERROR
    for mistake in authorities.mistakes(now):
        yield Mistake(path, mistake, severity)


def _flaws_in_lists(
    path: KeyPath, key: str, file: str, authorities: Authorities, now: float
) -> Iterator[Mistake]:
    try:
        revocations = read_revocations(key, file, now, authorities.subjects)
    except TlsFileError as error:
        yield Mistake(path, str(error))
        return
    for issuer, why in revocations.gaps(now).items():
        yield Mistake(path, why, Severity.ERROR if issuer in revocations.needed else Severity.WARNING)
    for why in revocations.left_out:
        yield Mistake(path, why, Severity.WARNING)
