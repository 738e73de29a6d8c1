"""Certificates in DER that nobody signed, with what no library would write in them: X.690, section 8.1."""

from __future__ import annotations

_ALGORITHM = b"\x30\x04\x06\x02\x2a\x03"


def element(tag: int, contents: bytes) -> bytes:
    """Write one element, with a length of the long form, which any contents fit."""
    return bytes((tag, 0x84)) + len(contents).to_bytes(4) + contents


def attribute(oid: bytes, value: bytes) -> bytes:
    """Write one attribute of a name, with a UTF8String."""
    return element(0x31, element(0x30, element(0x06, oid) + element(0x0C, value)))


def certificate(subject: bytes = b"", names: bytes = b"", extensions: bytes = b"") -> bytes:
    """Write a certificate.

    :param subject: attributes.
    :param names: entries of its subjectAltName.
    :param extensions: others.
    """
    validity = element(0x30, element(0x17, b"260101000000Z") * 2)
    of_names = element(0x30, element(0x06, b"\x55\x1d\x11") + element(0x04, element(0x30, names)))
    contents = b"".join(
        (
            element(0x02, b"\x01"),
            element(0x30, _ALGORITHM),
            element(0x30, b""),
            validity,
            element(0x30, subject),
            element(0x30, _ALGORITHM),
            element(0xA3, element(0x30, of_names + extensions)),
        )
    )
    return element(0x30, element(0x30, contents))
