"""What TLS at one end is made of, and what of it is out of date."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from tcpbalance.config.tls import CertificateConfig
from tcpbalance.net.tls.contexts import load_chain
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.files import Authorities, Chain, Validity, read_authorities, unchanged_span
from tcpbalance.net.tls.revocation import Revocations, read_revocations


@frozen
class Material:
    """What was read from files.

    :param chains: the certificates to show, in the order of the configuration.
    :param authorities: which to trust; empty for none, or for those of the system.
    :param revocations: what they have taken back.
    """

    chains: tuple[Chain, ...]
    authorities: Authorities
    revocations: Revocations

    def warnings(self, now: float) -> tuple[str, ...]:
        """Say what is out of date, or cannot be read and does no harm.

        :param now: seconds since the epoch.
        """
        mistakes = (chain.validity.mistake(now) for chain in self.chains)
        lists = self.revocations
        return (
            *filter(None, mistakes),
            *self.authorities.mistakes(now),
            *lists.left_out,
            *lists.gaps(now).values(),
        )

    def span(self, now: float) -> tuple[float, float]:
        """Give the time around now in which nothing goes out of date, and nothing becomes valid.

        :returns: its beginning, and its end, which does not belong to it.
        """
        return unchanged_span(now, [*self._validities(), *self.revocations.validities])

    def refuse_if_worse(self, before: Material, ca_key: str, crl_key: str, now: float) -> None:
        """See that nothing that is out of date takes the place of what is not.

        :param before: what is in use, read for the same configuration.
        :param ca_key: of the configuration, that names the file of the authorities.
        :param crl_key: the same for revocation lists.
        :param now: seconds since the epoch.
        :raises TlsFileError: a certificate does, an authority loses its current list, or none is left that
            is valid.
        """
        for old, new in zip(before.chains, self.chains, strict=True):
            mistake = new.validity.mistake(now)
            if mistake is not None and old.validity.mistake(now) is None:
                raise TlsFileError("cert", mistake)
        mistakes = self.authorities.mistakes(now)
        if mistakes and not self.authorities.is_any_valid(now) and before.authorities.is_any_valid(now):
            raise TlsFileError(ca_key, mistakes[0])
        self.revocations.refuse_if_worse(crl_key, before.revocations, now)

    def _validities(self) -> list[Validity]:
        of_chains = [chain.validity for chain in self.chains]
        return of_chains + [authority.validity for authority in self.authorities.known]


def read_material(
    pairs: Iterable[CertificateConfig], ca: tuple[str, str | None], crl: tuple[str, str | None], now: float
) -> Material:
    """Read all files of one end.

    :param pairs: certificates to show, with their keys.
    :param ca: the key of the configuration, and the file that it names.
    :param crl: the same for revocation lists.
    :param now: seconds since the epoch.
    :raises TlsFileError: one of them cannot be used whatever the time is.
    """
    chains = tuple(map(load_chain, pairs))
    authorities = Authorities() if ca[1] is None else read_authorities(ca[0], ca[1])
    revocations = Revocations()
    if crl[1] is not None:
        revocations = read_revocations(crl[0], crl[1], now, authorities.subjects)
    return Material(chains, authorities, revocations)
