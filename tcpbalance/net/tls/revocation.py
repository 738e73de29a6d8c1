"""Reads revocation lists, and chooses those that count.

An authority that is trusted needs one list that is current: without one, OpenSSL refuses all that the
authority has certified. A list that is out of date beside a current one does no harm and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from tcpbalance.config.messages import one_line
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.files import Validity, read_file
from tcpbalance.wire.certificate import read_issuer_of_list

_CRL = re.compile(rb"^-----BEGIN X509 CRL-----.*?^-----END X509 CRL-----", re.DOTALL | re.MULTILINE)
_BEGIN_CRL = re.compile(rb"^-----BEGIN X509 CRL-----", re.MULTILINE)

_NOT_UNDERSTOOD = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""How cryptography says that it can make no sense of a list."""


@frozen
class _List:
    """One list.

    :param issuer: its name, as RFC 4514 writes it.
    :param validity: when it counts.
    :param parsed: as OpenSSL needs it.
    """

    issuer: str
    validity: Validity
    parsed: x509.CertificateRevocationList


@frozen
class Revocations:
    """The lists of a file that count.

    :param by_issuer: those that OpenSSL is given, at least one of each authority in the file.
    :param needed: the trusted authorities, as far as they are known; in a chain there may be others.
    :param left_out: why other lists are not among them.
    :param validities: of all lists in the file.
    """

    by_issuer: Mapping[str, Sequence[_List]] = {}
    needed: frozenset[str] = frozenset()
    left_out: Sequence[str] = ()
    validities: Sequence[Validity] = ()

    @property
    def lists(self) -> list[x509.CertificateRevocationList]:
        """What OpenSSL is given."""
        return [each.parsed for lists in self.by_issuer.values() for each in lists]

    def gaps(self, now: float) -> dict[str, str]:
        """List which authorities have no current list, and why: what they have certified is refused.

        :param now: seconds since the epoch.
        """
        found = {}
        for issuer, lists in self.by_issuer.items():
            mistakes = [each.validity.mistake(now) for each in lists]
            if None not in mistakes:
                found[issuer] = f"{mistakes[0]}: until then, all that this authority has certified is refused"
        return found

    def refuse_if_worse(self, key: str, before: Revocations, now: float) -> None:
        """See that no authority loses its current list.

        :param key: of the configuration, that names the file.
        :param before: what is in use.
        :raises TlsFileError: one does.
        """
        had = before.gaps(now)
        for issuer, why in self.gaps(now).items():
            if issuer in before.by_issuer and issuer not in had:
                raise TlsFileError(key, why)


def read_revocations(key: str, path: str, now: float, authorities: Iterable[str]) -> Revocations:
    """Read the lists of a file.

    :param now: seconds since the epoch.
    :param authorities: the subjects of those that each have to have one, where they are known.
    :raises TlsFileError: at *key*; an authority has no list at all, or a list can never be used.
    """
    found: dict[str, list[_List]] = {}
    for each in _read(key, path):
        found.setdefault(_comparable(each.issuer), []).append(each)
    needed = {_comparable(authority): authority for authority in authorities}
    for name, authority in needed.items():
        if name not in found:
            raise TlsFileError(
                key, f"{path} has no list of {authority}: all that it has certified would be refused"
            )
    used = {issuer: _current(lists, now) for issuer, lists in found.items()}
    left_out = [
        f"{mistake}; it is left out"
        for issuer, lists in found.items()
        for each in lists
        if each not in used[issuer] and (mistake := each.validity.mistake(now))
    ]
    return Revocations(
        used, frozenset(needed), left_out, [each.validity for lists in found.values() for each in lists]
    )


def _current(lists: Sequence[_List], now: float) -> list[_List]:
    """Those that are valid; where none is, the newest, so that a handshake fails with that as its cause."""
    current = [each for each in lists if each.validity.mistake(now) is None]
    return current or [max(lists, key=lambda each: each.validity.start)]


def _read(key: str, path: str) -> list[_List]:
    data = read_file(key, path)
    blocks = _CRL.findall(data)
    if not blocks:
        raise TlsFileError(
            key,
            f"{path} holds no revocation list in PEM; from DER: openssl crl -inform DER -in LIST -out {path}",
        )
    if len(blocks) < len(_BEGIN_CRL.findall(data)):
        raise TlsFileError(key, f"{path} holds a revocation list that is damaged, write it anew")
    return [_parsed(key, path, block) for block in blocks]


def _parsed(key: str, path: str, block: bytes) -> _List:
    try:
        parsed = x509.load_pem_x509_crl(block)
        issuer = read_issuer_of_list(parsed.public_bytes(Encoding.DER))
        extensions = {extension.oid for extension in parsed.extensions}
        start, end = parsed.last_update_utc, parsed.next_update_utc
    except _NOT_UNDERSTOOD as error:
        raise TlsFileError(
            key, f"{path} holds a revocation list that cannot be read, write it anew: {one_line(str(error))}"
        ) from error
    what = f"the revocation list of {issuer} in {path}"
    if x509.DeltaCRLIndicator.oid in extensions:
        raise TlsFileError(
            key,
            f"{what} is a delta list, which contains only the changes since another list, so clients that "
            "the other one revokes would be admitted: replace it with the complete list",
        )
    return _List(
        issuer,
        Validity(what, start.timestamp(), None if end is None else end.timestamp(), "fetch a new one"),
        parsed,
    )


def _comparable(subject: str) -> str:
    """What is the same for two spellings of one name: RFC 5280, section 7.1."""
    return " ".join(subject.casefold().split())
