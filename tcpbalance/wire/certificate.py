"""What a certificate says, read from its DER (RFC 5280, section 4.1), however odd its texts are.

OpenSSL has taken the certificate by then. Libraries that hand out its names refuse all of it for one text
that they dislike: a `*` in a PrintableString, a name in Latin-1, an IP address of five octets. Here each text
stands for itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from attrs import frozen

MAX_REMEMBERED = 64
"""Certificates; a backend shows the same one each time, and reading it takes a tenth of a millisecond."""

_INTEGER, _OID, _UTC_TIME, _SEQUENCE, _SET = 0x02, 0x06, 0x17, 0x30, 0x31
_UNIVERSAL_STRING, _BMP_STRING = 0x1C, 0x1E
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
"""Tags: X.690, section 8.1.2; of the last two, RFC 5280, section 4.2.1.6."""

_WIDE_TEXTS = {_UNIVERSAL_STRING: "utf-32-be", _BMP_STRING: "utf-16-be"}
_COMMON_NAME = bytes.fromhex("550403")
_SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("551d11")
_SHORT_NAMES = {
    _COMMON_NAME: "CN",
    bytes.fromhex("550406"): "C",
    bytes.fromhex("550407"): "L",
    bytes.fromhex("550408"): "ST",
    bytes.fromhex("550409"): "STREET",
    bytes.fromhex("55040a"): "O",
    bytes.fromhex("55040b"): "OU",
    bytes.fromhex("0992268993f22c640101"): "UID",
    bytes.fromhex("0992268993f22c640119"): "DC",
}
"""RFC 4514, section 3."""

_UNREADABLE = re.compile("[\0-\x1f\x7f-\x9f\udc80-\udcff]+")
"""Control characters, and lone surrogates, which stand for bytes that belong to no text."""

_SPECIAL = re.compile('[,+"\\\\<>;]|' + _UNREADABLE.pattern)
"""The same, and what RFC 4514 has escaped: section 2.4."""

_TIME = re.compile(rb"[0-9]{14}Z")

_AMBIGUOUS = re.compile(r"\\(?:x[0-9A-F]{2}|\\)")
"""What is readable, and looks as if something had been escaped."""

_MAX_OID_BYTES = 64
"""An object identifier has a dozen. The time to write one in decimal grows with the square of its length."""

_TAG_GOES_ON = 0x1F
"""The lower bits of a tag whose number follows in further bytes: X.690, section 8.1.2.4."""

_LONG = 0x80
_MAX_LENGTH_BYTES = 4


@frozen
class AlternativeNames:
    """The names that a certificate is for, byte for byte, whether they can match anything or not.

    :param dns: host names and wildcards.
    :param ip: IP addresses, in network byte order.
    """

    dns: tuple[bytes, ...] = ()
    ip: tuple[bytes, ...] = ()


@frozen
class Certificate:
    """What we ask of a certificate.

    :param subject: its subject, as RFC 4514 writes it; control characters, and bytes that belong to no
        text, are escaped.
    :param common_name: the first in it, see ``common_name_shown``; None without one.
    :param not_before: seconds since the epoch.
    :param not_after: seconds since the epoch.
    :param names: of the extension subjectAltName; None without one.
    :param key_algorithm: the object identifier of the kind of its key, such as ``"1.2.840.10045.2.1"``.
    """

    subject: str
    common_name: str | None
    not_before: float
    not_after: float
    names: AlternativeNames | None
    key_algorithm: str


@functools.lru_cache(maxsize=MAX_REMEMBERED)
def read_certificate(der: bytes) -> Certificate:
    """Read a certificate, or remember what was read of one of the last.

    :param der: of a Certificate; what follows it is not looked at.
    :raises ValueError: it is none.
    """
    fields = list(_elements(_first(_first(der, _SEQUENCE), _SEQUENCE)))
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    if len(fields) < 6:
        raise ValueError("a certificate with too few fields")
    validity, subject, key = (_expect(field, _SEQUENCE) for field in fields[3:6])
    times = [_seconds(tag, value) for tag, value in _elements(validity)]
    if len(times) != 2:
        raise ValueError("a validity without two times")
    attributes = list(_attributes(subject))
    return Certificate(
        _subject(attributes),
        next(
            (
                common_name_shown(_text(tag, value))
                for group in attributes
                for oid, tag, value in group
                if oid == _COMMON_NAME
            ),
            None,
        ),
        times[0],
        times[1],
        _alternative_names(fields[6:]),
        _dotted(_first(_first(key, _SEQUENCE), _OID)),
    )


def read_issuer_of_list(der: bytes) -> str:
    """Read whose a revocation list is, as RFC 4514 writes it: RFC 5280, section 5.1.

    :param der: of a CertificateList.
    :raises ValueError: it is none.
    """
    fields = list(_elements(_first(_first(der, _SEQUENCE), _SEQUENCE)))
    if fields and fields[0][0] == _INTEGER:
        del fields[0]  # the version
    if len(fields) < 2:
        raise ValueError("a revocation list with too few fields")
    return _subject(list(_attributes(_expect(fields[1], _SEQUENCE))))


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Part what consists of elements, and nothing else, into tags and contents: X.690, section 8.1.

    :raises ValueError: when one is cut off, or its length or tag has a form that no certificate needs.
    """
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("an element is cut off before its length")
        tag, length = data[at], data[at + 1]
        if tag & _TAG_GOES_ON == _TAG_GOES_ON:
            raise ValueError("a tag of a form that no certificate has")
        at += 2
        if length >= _LONG:
            size = length - _LONG
            if not 0 < size <= _MAX_LENGTH_BYTES:
                raise ValueError("a length of a form that DER does not have")
            length = int.from_bytes(data[at : at + size])
            at += size
        end = at + length
        if end > len(data):
            raise ValueError("an element is cut off")
        yield tag, data[at:end]
        at = end


def _first(data: bytes, tag: int) -> bytes:
    element = next(_elements(data), None)
    if element is None:
        raise ValueError("nothing where an element has to be")
    return _expect(element, tag)


def _expect(element: tuple[int, bytes], tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError(f"an element {element[0]:#04x} where {tag:#04x} has to be")
    return element[1]


def _seconds(tag: int, value: bytes) -> float:
    """Read a time, UTCTime or GeneralizedTime: RFC 5280, section 4.1.2.5."""
    if tag == _UTC_TIME:
        value = (b"19" if value >= b"5" else b"20") + value
    if not _TIME.fullmatch(value):
        raise ValueError(f"a time of a form that no certificate has: {value!r}")
    month, day, hour, minute, second = (int(value[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(value[:4]), month, day, hour, minute, second, tzinfo=UTC).timestamp()


def _attributes(name: bytes) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Part a Name into groups of attributes, each with its object identifier, tag and value."""
    for element in _elements(name):
        group = []
        for attribute in _elements(_expect(element, _SET)):
            oid, value = _pair(_expect(attribute, _SEQUENCE))
            group.append((_expect(oid, _OID), *value))
        yield group


def _subject(attributes: list[list[tuple[bytes, int, bytes]]]) -> str:
    return ",".join("+".join(map(_attribute_text, group)) for group in reversed(attributes))


def _pair(data: bytes) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    one, other = _elements(data)
    return one, other


def _attribute_text(attribute: tuple[bytes, int, bytes]) -> str:
    oid, tag, value = attribute
    text = _SPECIAL.sub(_escaped, _text(tag, value))
    if text.startswith(("#", " ")):
        text = "\\" + text
    if text.endswith(" ") and text != "\\ ":
        text = f"{text[:-1]}\\ "
    return f"{_SHORT_NAMES.get(oid) or _dotted(oid)}={text}"


def _text(tag: int, value: bytes) -> str:
    """Decode a string of any type; each byte that cannot be decoded becomes a lone surrogate."""
    if tag in _WIDE_TEXTS:
        try:
            return value.decode(_WIDE_TEXTS[tag])
        except UnicodeDecodeError:
            pass
    return value.decode("utf-8", "surrogateescape")


def common_name_shown(text: str) -> str:
    """Write a common name as it is, unless it is unreadable or could be taken for another one that is.

    Backends may let clients in by it, so no two are written alike: in such a name each backslash is doubled,
    and each byte of a character that is unreadable becomes ``\\x`` and two digits.

    :param text: decoded; a lone surrogate stands for a byte that could not be.
    """
    if not (_UNREADABLE.search(text) or _AMBIGUOUS.search(text)):
        return text
    return _UNREADABLE.sub(lambda found: _hex(found[0], "\\x"), text.replace("\\", "\\\\"))


def _escaped(found: re.Match[str]) -> str:
    """Escape one special character, or all unreadable ones in a row: RFC 4514, section 2.4."""
    text = found[0]
    return _hex(text, "\\") if _UNREADABLE.match(text) else "\\" + text


def _hex(text: str, mark: str) -> str:
    """Write each byte of a text as two digits behind a mark."""
    return mark + text.encode("utf-8", "surrogateescape").hex(" ").upper().replace(" ", mark)


def _dotted(oid: bytes) -> str:
    """Write an object identifier: X.690, section 8.19."""
    if len(oid) > _MAX_OID_BYTES:
        raise ValueError("an object identifier that is too long")
    arcs, arc = [], 0
    for byte in oid:
        arc = arc << 7 | byte & 0x7F
        if byte < _LONG:
            arcs.append(arc)
            arc = 0
    if not arcs:
        raise ValueError("an object identifier without an end")
    head = min(arcs[0] // 40, 2)
    return ".".join(map(str, (head, arcs[0] - 40 * head, *arcs[1:])))


def _alternative_names(fields: list[tuple[int, bytes]]) -> AlternativeNames | None:
    """Find the names, with each entry of another kind left out.

    :raises ValueError: there are two such extensions, and it is not defined which one counts.
    """
    found = None
    for tag, contents in fields:
        if tag != _EXTENSIONS:
            continue
        for element in _elements(_first(contents, _SEQUENCE)):
            (_, oid), *_, (_, value) = _elements(_expect(element, _SEQUENCE))
            if oid != _SUBJECT_ALTERNATIVE_NAME:
                continue
            if found is not None:
                raise ValueError("more than one subjectAltName")
            found = list(_elements(_first(value, _SEQUENCE)))
    if found is None:
        return None
    return AlternativeNames(
        tuple(value for tag, value in found if tag == _DNS_NAME),
        tuple(value for tag, value in found if tag == _IP_ADDRESS),
    )
