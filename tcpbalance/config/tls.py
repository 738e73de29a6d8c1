"""What an operator can write about TLS, at both ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs
from attrs import converters, field, frozen

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import HostName
from tcpbalance.config.metadata import doc
from tcpbalance.config.names import AlpnName
from tcpbalance.config.paths import FilePath
from tcpbalance.config.strict import strict

TlsVersion: TypeAlias = Literal["1.2", "1.3"]


@frozen(kw_only=True, field_transformer=strict)
class CertificateConfig:
    """An element of `certificates`, and `certificate` of a pool: a certificate with its key, in PEM."""

    cert: FilePath = field(
        converter=FilePath,
        metadata=doc(
            "File of the certificate, followed by the intermediate certificates.", example='"web.pem"'
        ),
    )
    key: FilePath = field(
        default=attrs.Factory(lambda self: self.cert, takes_self=True),
        converter=FilePath,
        metadata=doc("File of the private key, without a passphrase.", default="as `cert`"),
    )


def _as_tuple(certificates: Iterable[CertificateConfig]) -> tuple[CertificateConfig, ...]:
    return tuple(certificates)


@frozen(kw_only=True, field_transformer=strict)
class FrontendTlsConfig:
    """`[frontends.NAME.tls]`: TLS with clients ends here; backends get what is in it."""

    certificates: tuple[CertificateConfig, ...] = field(
        converter=_as_tuple,
        validator=checks.not_empty("certificate"),
        metadata=doc(
            "Certificates. A client gets the one for the server name that it asks for, or else the "
            "first. A name may have one certificate with an ECDSA key and one with an RSA key. An "
            "expired certificate, or one that is not valid yet, is used only when no other matches the "
            "name.",
            example='[{ cert = "web.pem", key = "web.key" }]',
        ),
    )
    minimum_version: TlsVersion = field(
        default="1.2",
        metadata=doc("The minimum version of TLS."),
    )
    alpn: tuple[AlpnName, ...] = field(
        default=(),
        converter=plain.protocols,
        metadata=doc(
            'Protocols to negotiate with ALPN, such as `"http/1.1"`, in order of preference. A client '
            "that offers none of them is served without ALPN.",
            default="none",
        ),
    )
    client_ca: FilePath | None = field(
        default=None,
        converter=converters.optional(FilePath),
        metadata=doc(
            "File of certificate authorities, in PEM. Clients must present a certificate of one of "
            "them. Absent: no client certificate is requested."
        ),
    )
    client_crl: FilePath | None = field(
        default=None,
        converter=converters.optional(FilePath),
        validator=checks.needs("client_ca", because=", which makes clients show a certificate"),
        metadata=doc(
            "File of the revocation lists of these authorities, in PEM. Each authority of a client's "
            "chain must have a current list, or the client is refused. Lists that are out of date are "
            "ignored beside a current one."
        ),
    )


@frozen(kw_only=True, field_transformer=strict)
class PoolTlsConfig:
    """`[pools.NAME.tls]`: TLS is spoken with the backends."""

    verify: bool = field(
        default=True,
        metadata=doc(
            "Whether a backend must present a certificate of a trusted authority for its server name."
        ),
    )
    ca: FilePath | None = field(
        default=None,
        converter=converters.optional(FilePath),
        validator=checks.not_with("verify", unwanted=False),
        metadata=doc(
            "File of the trusted certificate authorities, in PEM.", default="the system's authorities"
        ),
    )
    crl: FilePath | None = field(
        default=None,
        converter=converters.optional(FilePath),
        validator=checks.not_with("verify", unwanted=False),
        metadata=doc(
            "File of the revocation lists of these authorities, in PEM. Each authority of a backend's "
            "chain must have a current list, or the backend's handshake fails. Lists that are out of "
            "date are ignored beside a current one."
        ),
    )
    server_name: HostName | None = field(
        default=None,
        converter=converters.optional(plain.host),
        metadata=doc(
            "The name, or IP address, that is requested (SNI) and that the certificate must be valid "
            "for. A backend's own `server_name` takes precedence.",
            default="the host of the backend's address",
        ),
    )
    certificate: CertificateConfig | None = field(
        default=None, metadata=doc("The client certificate for backends that request one.")
    )


TlsConfig: TypeAlias = FrontendTlsConfig | PoolTlsConfig
