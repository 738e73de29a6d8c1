"""What is read of a certificate, and that odd texts in it hide nothing else."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from support.certificates import NOW, YESTERDAY, Authority
from support.der import attribute, certificate, element
from tcpbalance.wire.certificate import (
    AlternativeNames,
    Certificate,
    common_name_shown,
    read_certificate,
    read_issuer_of_list,
)

UTF8, PRINTABLE, T61, IA5, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root()


def der_of(file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text())


@pytest.fixture
def with_subject(authority: Authority, tmp_path: Path) -> Callable[..., Certificate]:
    """Make a certificate for a client whose common name, or organisation, is these bytes of that type."""

    def make(tag: int, value: bytes, attribute: str = "CN") -> Certificate:
        stand_in = "A" * len(value)
        issued = authority.issue_client(tmp_path, "odd", f"{attribute}={stand_in}")
        old = bytes((UTF8, len(value))) + stand_in.encode()
        authority.sign_again(issued, lambda tbs: tbs.replace(old, bytes((tag, len(value))) + value))
        return read_certificate(der_of(issued.certificate))

    return make


def test_what_is_asked_of_it(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(tmp_path, "web", "web.example", "*.web.example", "10.0.0.1", "2001:db8::1")
    read = read_certificate(der_of(issued.certificate))
    assert (read.subject, read.common_name) == ("CN=web.example", "web.example")
    assert (read.not_before, read.not_after) == (
        YESTERDAY.timestamp(),
        issued.leaf.not_valid_after_utc.timestamp(),
    )
    assert read.names == AlternativeNames(
        (b"web.example", b"*.web.example"), (b"\x0a\0\0\1", bytes.fromhex("20010db8" + "00" * 11 + "01"))
    )
    assert read.key_algorithm == "1.2.840.10045.2.1"


@pytest.mark.parametrize("time", [b"990101000000+", b"991301000000Z", b"99010100000 Z", b"-90101000000Z"])
def test_a_time_that_is_none(authority: Authority, tmp_path: Path, time: bytes) -> None:
    day = NOW.replace(year=1998, month=1, day=1)
    issued = authority.issue(tmp_path, "web", "web.example", not_before=day)
    written = f"{day:%y%m%d%H%M%SZ}".encode()
    authority.sign_again(issued, lambda tbs: tbs.replace(written, time))
    with pytest.raises(ValueError, match=r"time|month"):
        read_certificate(der_of(issued.certificate))


def test_one_without_names(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue_client(tmp_path, "old", "CN=old.example")
    assert read_certificate(der_of(issued.certificate)).names is None


@pytest.mark.parametrize("year", [1999, 2049, 2050, 2170])
def test_times_of_either_form(authority: Authority, tmp_path: Path, year: int) -> None:
    """RFC 5280, section 4.1.2.5: the form changes with the year 2050."""
    before = NOW.replace(year=1998, day=1)
    after = NOW.replace(year=year, day=1)
    issued = authority.issue(tmp_path, "web", "web.example", not_before=before, not_after=after)
    read = read_certificate(der_of(issued.certificate))
    assert (read.not_before, read.not_after) == (before.timestamp(), after.timestamp())


@pytest.mark.parametrize(
    "subject",
    [
        "CN=alice,O=Example",
        'UID=7,CN=Müller\\, Jürgen \\+ Söhne,OU=a\\;b,O=\\"x\\"\\<y\\>\\\\,L=z,ST=s,STREET=e,DC=org,C=DE',
        "CN=\\#1\\ ,O=\\ a",
        "2.5.4.12=Dr,CN=a",
        "CN=a+OU=b,O=c",
    ],
)
def test_a_subject_reads_as_the_library_writes_it(authority: Authority, tmp_path: Path, subject: str) -> None:
    issued = authority.issue_client(tmp_path, "alice", subject)
    assert read_certificate(der_of(issued.certificate)).subject == issued.leaf.subject.rfc4514_string()


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        (UTF8, b"J\xfcrgen", r"J\FCrgen"),
        (T61, b"J\xfcrgen", r"J\FCrgen"),
        (PRINTABLE, b"J\xfcrgen", r"J\FCrgen"),
        (PRINTABLE, b"*.web.example", "*.web.example"),
        (PRINTABLE, b"a@b_c&d", "a@b_c&d"),
        (IA5, b"a\nb\x1b[2J", r"a\0Ab\1B[2J"),
        (UTF8, b"a\0b\x7f", r"a\00b\7F"),
        (UTF8, "a\x9bb".encode(), r"a\C2\9Bb"),
        (BMP, "Jürgen".encode("utf-16-be"), "Jürgen"),
        (BMP, b"\xd8\x00\xff", r"\D8\00\FF"),
        (UNIVERSAL, "Jürgen".encode("utf-32-be"), "Jürgen"),
        (UNIVERSAL, b"abc", "abc"),
        (UTF8, rb"DOMAIN\ADMIN", r"DOMAIN\\ADMIN"),
        (UTF8, b"DOMAIN\\J\xfcrgen", r"DOMAIN\\J\FCrgen"),
    ],
)
def test_a_subject_is_shown_whatever_it_is_written_in(
    with_subject: Callable[..., Certificate], tag: int, value: bytes, text: str
) -> None:
    assert with_subject(tag, value).subject == f"CN={text}"


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        (UTF8, b"J\xfcrgen", r"J\xFCrgen"),
        (BMP, "Jürgen".encode("utf-16-be"), "Jürgen"),
        (UTF8, "a\x9b\nb".encode(), r"a\xC2\x9B\x0Ab"),
        (PRINTABLE, b"a@b,c+d", "a@b,c+d"),
        (UTF8, rb"DOMAIN\ADMIN", r"DOMAIN\ADMIN"),
        (UTF8, b"DOMAIN\\J\xfcrgen", r"DOMAIN\\J\xFCrgen"),
        (UTF8, rb"J\xFCrgen", r"J\\xFCrgen"),
        (UTF8, rb"DOMAIN\\J\xFCrgen", r"DOMAIN\\\\J\\xFCrgen"),
        (UTF8, rb"DOMAIN\\user", r"DOMAIN\\\\user"),
    ],
)
def test_a_common_name_is_as_it_is_unless_it_could_be_taken_for_another(
    with_subject: Callable[..., Certificate], tag: int, value: bytes, text: str
) -> None:
    assert with_subject(tag, value).common_name == text


@given(st.lists(st.text(alphabet="\\xF0\n\xfc", max_size=8), min_size=2, max_size=2, unique=True))
def test_no_two_common_names_are_shown_alike(texts: list[str]) -> None:
    one, other = (
        common_name_shown(text.encode().replace(b"\xc3\xbc", b"\xfc").decode("utf-8", "surrogateescape"))
        for text in texts
    )
    assert one != other


def test_a_surrogate_that_was_written_is_not_taken_for_a_byte(
    with_subject: Callable[..., Certificate],
) -> None:
    assert with_subject(UNIVERSAL, b"\0\0\xdc\xfc").common_name == r"\x00\x00\xDC\xFC"


def test_an_odd_attribute_hides_no_other(with_subject: Callable[..., Certificate]) -> None:
    assert with_subject(T61, b"M\xfcller", "O").subject == "O=M\\FCller"
    assert with_subject(T61, b"M\xfcller", "O").common_name is None


@pytest.mark.parametrize(
    ("odd", "names"),
    [
        (b"\x87\x05\x0a\0\0\1\2", AlternativeNames((b"web.example",), (b"\x0a\0\0\1\2",))),
        (b"\x82\x05w\xfcb.a", AlternativeNames((b"web.example", b"w\xfcb.a"))),
        (b"\x86\x05a:b:c", AlternativeNames((b"web.example",))),
        (b"\x82\x05\0\0\0\0\0", AlternativeNames((b"web.example", bytes(5)))),
    ],
    ids=["five-octets", "latin-1", "uri", "nul"],
)
def test_an_odd_name_hides_no_other(
    authority: Authority, tmp_path: Path, odd: bytes, names: AlternativeNames
) -> None:
    issued = authority.issue(tmp_path, "web", "web.example", "other")
    assert len(odd) == 7
    authority.sign_again(issued, lambda tbs: tbs.replace(b"\x82\x05other", odd))
    assert read_certificate(der_of(issued.certificate)).names == names


def test_two_lists_of_names_are_refused(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(tmp_path, "web", "web.example")
    # The object identifier of the extended usages becomes that of the names.
    authority.sign_again(issued, lambda tbs: tbs.replace(b"\x06\x03\x55\x1d\x25", b"\x06\x03\x55\x1d\x11"))
    with pytest.raises(ValueError, match="more than one subjectAltName"):
        read_certificate(der_of(issued.certificate))


def eligible() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        issued = Authority.root().issue(Path(folder), "web", "web.example", "10.0.0.1")
        return issued.leaf.public_bytes(Encoding.DER)


SOUND = eligible()


@given(st.binary(max_size=200) | st.integers(0, len(SOUND) - 1).map(lambda size: SOUND[:size]))
def test_no_bytes_raise_any_other_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its text is for us
        read_certificate(data)


@given(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=4))
def test_no_change_raises_any_other_error(at: int, change: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_certificate(SOUND[:at] + change + SOUND[at + len(change) :])


def read_name(der: bytes) -> str:
    """Read the name in a list that has nothing else in it but an algorithm."""
    return read_issuer_of_list(element(0x30, element(0x30, element(0x30, b"") + der)))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_list_raise_no_other_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its text is for us
        read_issuer_of_list(data)


def test_a_length_that_is_not_said_is_none_of_der() -> None:
    """X.690, section 10.1."""
    assert read_name(b"\x30\x00") == ""
    with pytest.raises(ValueError, match="a length of a form that DER does not have"):
        read_name(b"\x30\x80" + b"\x31\x00" * 64)


def test_a_tag_of_several_bytes_is_none_of_a_certificate() -> None:
    """X.690, section 8.1.2.4: its second byte is no length."""
    with pytest.raises(ValueError, match="a tag of a form that no certificate has"):
        read_name(b"\x30\x03\x3f\x01\x00")


def test_the_longest_object_identifier() -> None:
    assert read_name(element(0x30, attribute(b"\x2a" + b"\x01" * 63, b"a"))) == "1.2" + ".1" * 63 + "=a"
    with pytest.raises(ValueError, match="an object identifier that is too long"):
        read_name(element(0x30, attribute(b"\x2a" + b"\x01" * 64, b"a")))


def test_an_object_identifier_of_a_whole_handshake_costs_little() -> None:
    """One number of 100,000 bytes, digit by digit, would take seconds."""
    before = time.process_time()
    with pytest.raises(ValueError, match="an object identifier that is too long"):
        read_certificate(certificate(attribute(b"\x2a\x81" + b"\xff" * 100_000 + b"\x01", b"a")))
    assert time.process_time() - before < 0.5


def test_what_follows_is_not_looked_at() -> None:
    assert read_certificate(SOUND + b"trust") == read_certificate(SOUND)


def test_the_library_agrees() -> None:
    library = x509.load_der_x509_certificate(SOUND)
    names = library.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    read = read_certificate(SOUND)
    assert read.names is not None
    assert [name.decode() for name in read.names.dns] == names.get_values_for_type(x509.DNSName)
    assert list(read.names.ip) == [ip.packed for ip in names.get_values_for_type(x509.IPAddress)]
