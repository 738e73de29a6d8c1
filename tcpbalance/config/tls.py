"""What an operator can write about TLS, at both ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs
from attrs import field, frozen
from attrs.converters import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import HostName
from tcpbalance.config.metadata import doc
from tcpbalance.config.names import AlpnName
from tcpbalance.config.paths import FilePath

TlsVersion: TypeAlias = Literal["1.2", "1.3"]


@frozen(kw_only=True)
class CertificateConfig:
    """An element of `certificates`, and `certificate` of a pool: a certificate with its key, in PEM."""

    cert: FilePath = field(
        converter=FilePath,
        metadata=doc(
            "File of the certificate, followed by those of the authorities in between.", example='"web.pem"'
        ),
    )
    key: FilePath = field(
        default=attrs.Factory(lambda self: self.cert, takes_self=True),
        converter=FilePath,
        metadata=doc("File of the private key, without a passphrase.", default="as `cert`"),
    )


def _as_tuple(certificates: Iterable[CertificateConfig]) -> tuple[CertificateConfig, ...]:
    return tuple(certificates)


@frozen(kw_only=True)
class FrontendTlsConfig:
    """`[frontends.NAME.tls]`: TLS with clients ends here; backends get what is in it."""

    certificates: tuple[CertificateConfig, ...] = field(
        converter=_as_tuple,
        validator=checks.not_empty("certificate"),
        metadata=doc(
            "Certificates, of which a client gets the one for the server name it asks for, or else the "
            "first. For one name there may be one with an ECDSA key and one with an RSA key. One that is out "
            "of date is shown only where no other is for the name.",
            example='[{ cert = "web.pem", key = "web.key" }]',
        ),
    )
    minimum_version: TlsVersion = field(
        default="1.2",
        validator=checks.one_of(TlsVersion),
        metadata=doc("The oldest version of TLS that is spoken."),
    )
    alpn: tuple[AlpnName, ...] = field(
        default=(),
        converter=plain.protocols,
        metadata=doc(
            'Protocols that can be agreed on by ALPN, such as `"http/1.1"`, the best first. With a client '
            "that offers none of them the connection goes on without.",
            default="none",
        ),
    )
    client_ca: FilePath | None = field(
        default=None,
        converter=optional(FilePath),
        metadata=doc(
            "File of the authorities, in PEM, whose certificates clients have to show; absent means that "
            "none is asked for."
        ),
    )
    client_crl: FilePath | None = field(
        default=None,
        converter=optional(FilePath),
        metadata=doc(
            "File of the revocation lists of these authorities, in PEM: one that is current for each "
            "authority of a client's chain, or the client is refused. Others beside it are left out."
        ),
    )


@frozen(kw_only=True)
class PoolTlsConfig:
    """`[pools.NAME.tls]`: TLS is spoken with the backends."""

    verify: bool = field(
        default=True,
        metadata=doc(
            "Whether a backend has to show a certificate for its server name, of a trusted authority."
        ),
    )
    ca: FilePath | None = field(
        default=None,
        converter=optional(FilePath),
        metadata=doc("File of the authorities that are trusted, in PEM.", default="the system's authorities"),
    )
    crl: FilePath | None = field(
        default=None,
        converter=optional(FilePath),
        metadata=doc(
            "File of the revocation lists of these authorities, in PEM: one that is current for each "
            "authority of a backend's chain, or the backend fails. Others beside it are left out."
        ),
    )
    server_name: HostName | None = field(
        default=None,
        converter=plain.optional_host,
        metadata=doc(
            "The name, or IP address, that is asked for and has to be in the certificate, unless a backend "
            "has its own.",
            default="the host of the backend's address",
        ),
    )
    certificate: CertificateConfig | None = field(
        default=None, metadata=doc("What is shown to a backend that asks for a certificate.")
    )


TlsConfig: TypeAlias = FrontendTlsConfig | PoolTlsConfig
