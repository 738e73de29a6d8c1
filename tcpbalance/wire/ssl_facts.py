"""What a PROXY header says of the TLS that the client spoke.

Source: HAProxy's doc/proxy-protocol.txt, section 2.2.6.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import islice
from typing import Any

from attrs import field, frozen
from attrs.validators import ge, le

from tcpbalance.wire.tlv import SSL, Tlv, ascii_text, read_tlvs, utf8, write_tlvs

VERSION = 0x21
COMMON_NAME = 0x22
CIPHER = 0x23
SIGNATURE_ALGORITHM = 0x24
KEY_ALGORITHM = 0x25
GROUP = 0x26
SIGNATURE_SCHEME = 0x27
CLIENT_CERTIFICATE = 0x28

CLIENT_SSL = 0x01
CLIENT_CERT_CONN = 0x02
CLIENT_CERT_SESS = 0x04

MAX_FIELDS = 64
"""Fields that are read: there are eight kinds, and an empty one costs as much as a long one."""

_FIXED = struct.Struct("!BI")
"""Flags and the outcome of verifying, with no padding between them."""


@frozen
class SslFacts:
    """The TLS between the client and the proxy that it came to.

    :param client_ssl: the client spoke TLS.
    :param cert_conn: it showed a certificate on this connection.
    :param cert_session: it showed one at least once in this TLS session.
    :param verify: 0 when it showed a certificate that was found good; anything else of 32 bits otherwise.
    :param version: of TLS, such as "TLSv1.3".
    :param common_name: of the client's certificate.
    :param cipher: the suite's name.
    :param signature_algorithm: what the proxy's certificate is signed with.
    :param key_algorithm: of the key in the proxy's certificate.
    :param group: the key exchange's.
    :param signature_scheme: what the handshake was signed with.
    :param client_certificate: in DER.
    """

    client_ssl: bool = False
    cert_conn: bool = False
    cert_session: bool = False
    verify: int = field(default=1, validator=[ge(0), le(0xFFFFFFFF)])
    version: str | None = None
    common_name: str | None = None
    cipher: str | None = None
    signature_algorithm: str | None = None
    key_algorithm: str | None = None
    group: str | None = None
    signature_scheme: str | None = None
    client_certificate: bytes | None = None


def _raw(tlv: Tlv) -> bytes:
    return tlv.value


_FIELDS: dict[int, tuple[str, Callable[[Tlv], object]]] = {
    VERSION: ("version", ascii_text),
    COMMON_NAME: ("common_name", utf8),
    CIPHER: ("cipher", ascii_text),
    SIGNATURE_ALGORITHM: ("signature_algorithm", ascii_text),
    KEY_ALGORITHM: ("key_algorithm", ascii_text),
    GROUP: ("group", ascii_text),
    SIGNATURE_SCHEME: ("signature_scheme", ascii_text),
    CLIENT_CERTIFICATE: ("client_certificate", _raw),
}


def ssl_facts(tlv: Tlv) -> SslFacts | None:
    """Read the TLV of type SSL.

    Of more than `MAX_FIELDS` the first count, and of one that comes twice the first. An unknown one is
    skipped, and a text that is not in its encoding is None: HAProxy copies a common name as the certificate
    has it, which may be Latin-1.

    :returns: None when it is too short, or a field is cut off.
    """
    if len(tlv.value) < _FIXED.size:
        return None
    flags, verify = _FIXED.unpack_from(tlv.value)
    found: dict[str, Any] = {}
    try:
        for part in islice(read_tlvs(tlv.value[_FIXED.size :]), MAX_FIELDS):
            if part.type in _FIELDS:
                name, decode = _FIELDS[part.type]
                found.setdefault(name, decode(part))
    except ValueError:
        return None
    return SslFacts(
        client_ssl=bool(flags & CLIENT_SSL),
        cert_conn=bool(flags & CLIENT_CERT_CONN),
        cert_session=bool(flags & CLIENT_CERT_SESS),
        verify=verify,
        **found,
    )


def ssl_tlv(facts: SslFacts) -> Tlv:
    """Make the TLV of type SSL, for `encode_v2`.

    :raises ValueError: for a text that its field cannot hold.
    """
    flags = facts.client_ssl * CLIENT_SSL
    flags |= facts.cert_conn * CLIENT_CERT_CONN
    flags |= facts.cert_session * CLIENT_CERT_SESS
    parts = []
    for kind, (name, decode) in _FIELDS.items():
        value = getattr(facts, name)
        if value is not None:
            part = Tlv(kind, value if isinstance(value, bytes) else value.encode())
            if decode(part) is None:
                raise ValueError(f"{name} must be US-ASCII, got {value!r}")
            parts.append(part)
    return Tlv(SSL, _FIXED.pack(flags, facts.verify) + write_tlvs(parts))
