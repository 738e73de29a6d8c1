"""ClientHellos: what is read from them, what is refused, and that neither depends on how they are cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.hellos import (
    ALPN,
    ENCRYPTED_CLIENT_HELLO,
    GREASE,
    KEY_SHARE,
    NAME,
    alpn,
    body,
    cut,
    extension,
    hello,
    hello_of,
    message,
    real_hello,
    record,
    records,
    server_name,
    vector,
)
from tcpbalance.errors import Fault
from tcpbalance.wire.client_hello import (
    MAX_HELLO,
    ClientHello,
    ClientHelloError,
    HelloError,
    HelloReader,
    NotTls,
)

GOOD = hello(server_name(NAME), alpn(b"h2", b"http/1.1"))
SAID = ClientHello(NAME)
SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=8)


def read(pieces: bytes | Iterable[bytes]) -> ClientHello | None:
    """Feed one piece after the other, up to the answer."""
    reader = HelloReader()
    for piece in [pieces] if isinstance(pieces, bytes) else pieces:
        found = reader.feed(piece)
        if found is not None:
            return found
    return None


def outcome(pieces: bytes | Iterable[bytes]) -> ClientHello | tuple[type[HelloError], str] | None:
    """What is read, or how it is refused."""
    try:
        return read(pieces)
    except HelloError as error:
        return type(error), str(error)


def singly(data: bytes) -> list[bytes]:
    return cut(data, [1])


# What is read


def test_reads_the_server_name() -> None:
    assert read(GOOD) == SAID


def test_takes_a_bytearray_as_well() -> None:
    assert HelloReader().feed(bytearray(GOOD)) == SAID


@pytest.mark.parametrize("length", [0, 1, 5, 6, len(GOOD) - 1])
def test_asks_for_more_while_it_is_not_all_there(length: int) -> None:
    reader = HelloReader()
    assert reader.feed(GOOD[:length]) is None
    assert reader.feed(b"") is None
    assert reader.feed(GOOD[length:]) == SAID


def test_a_hello_may_name_no_server() -> None:
    assert read(hello()) == ClientHello(None)


def test_a_hello_may_have_no_extensions_at_all() -> None:
    assert read(records(message(body(block=b"")))) == ClientHello(None)


def test_what_it_need_not_know_is_passed_over() -> None:
    others = [extension(GREASE), extension(ALPN, b"\0"), extension(ENCRYPTED_CLIENT_HELLO, bytes(200))]
    assert read(hello(others[0], server_name("outer.example"), *others[1:])) == ClientHello("outer.example")


@pytest.mark.parametrize("name", ["WWW.Example.COM", "www.example.com.", "WWW.EXAMPLE.COM."])
def test_a_name_has_one_spelling(name: str) -> None:
    assert read(hello(server_name(name))) == ClientHello(NAME)


@pytest.mark.parametrize("name", ["a", "_service.example", "a" * 255, "xn--bcher-kva.example", "10.example"])
def test_any_visible_name_is_a_name(name: str) -> None:
    assert read(hello(server_name(name))) == ClientHello(name)


@pytest.mark.parametrize("name", ["192.0.2.1", "192.0.2.1.", "2001:db8::1", "::"])
def test_an_ip_address_is_no_name(name: str) -> None:
    assert read(hello(server_name(name))) == ClientHello(None)


def test_a_name_of_another_type_is_passed_over() -> None:
    assert read(hello(server_name(b"\xff\0", NAME, kinds=[7, 0]))) == ClientHello(NAME)
    assert read(hello(server_name(b"", kinds=[7]))) == ClientHello(None)


@pytest.mark.parametrize("minor", range(5))
def test_the_version_of_a_record_says_nothing(minor: int) -> None:
    whole = message(body(server_name(NAME)))
    assert read(record(whole, version=bytes([3, minor]))) == ClientHello(NAME)


def test_what_comes_in_later_records_is_not_looked_at() -> None:
    assert read(GOOD + b"\x17\3\3") == SAID


def test_reads_what_openssl_sends() -> None:
    assert read(real_hello(NAME, ["h2", "http/1.1"])) == SAID
    assert read(real_hello(NAME)) == ClientHello(NAME)
    assert read(real_hello(None)) == ClientHello(None)


# What is no TLS


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"G", id="HTTP"),
        pytest.param(b"\0", id="the SSLRequest of PostgreSQL"),
        pytest.param(b"\x80", id="SSLv2"),
        pytest.param(b"\x15", id="an alert"),
        pytest.param(b"\x16\2", id="major version 2"),
        pytest.param(b"\x16\3\5", id="minor version 5"),
        pytest.param(b"\x16\3\1\0\1\2", id="a ServerHello"),
    ],
)
def test_what_is_no_tls_is_refused_at_the_first_byte_that_shows_it(start: bytes) -> None:
    reader = HelloReader()
    assert reader.feed(start[:-1]) is None
    with pytest.raises(NotTls):
        reader.feed(start[-1:])
    with pytest.raises(NotTls):
        read(start + bytes(100))


@pytest.mark.parametrize("error", [NotTls, ClientHelloError])
def test_it_is_the_client_who_has_to_act(error: type[HelloError]) -> None:
    assert issubclass(error, HelloError)
    assert error.fault is Fault.CLIENT


# What is malformed


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the hello ends in the middle"),
        (body()[:-1], "the hello ends in the middle"),
        (body(session_id=bytes(33)), "session id"),
        (body(suites=b""), "cipher suites"),
        (body(suites=b"\x13\x01\x13"), "cipher suites"),
        (body(compression=b""), "compression"),
        (body(block=b"\0"), "the hello ends in the middle"),
        (body(block=b"\0\5"), "the hello ends in the middle"),
        (body(behind=b"\0"), "the hello has bytes left"),
        (body(extension(GREASE)[:-1]), "the block of extensions ends in the middle"),
        (body(extension(GREASE), extension(GREASE)), "two of type 2570"),
        (body(server_name(NAME), server_name(NAME)), "block of extensions has two of type 0"),
        (body(server_name(NAME, NAME)), "list of server names has two of type 0"),
        (body(server_name()), "list of server names is empty"),
        (body(extension(0)), "list of server names ends in the middle"),
        (body(extension(0, vector(2, b"\0\0\1a") + b"\0")), "list of server names has bytes left"),
        (body(extension(0, vector(2, b"\0\0\2a"))), "list of server names ends in the middle"),
    ],
)
def test_what_does_not_add_up_is_malformed(content: bytes, why: str) -> None:
    with pytest.raises(ClientHelloError, match=why):
        read(records(message(content)))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"", "empty"),
        (b".", "empty"),
        (b"a..example", "empty"),
        (b".example", "empty"),
        (b"a\0.example", "visible ASCII"),
        (b"a b.example", "visible ASCII"),
        (b"a\n.example", "visible ASCII"),
        ("bücher.example".encode(), "visible ASCII"),
        (b"a\x7f", "visible ASCII"),
        (b"a" * 256, "longer than 255 bytes"),
    ],
)
def test_what_is_no_host_name_is_malformed(name: bytes, why: str) -> None:
    with pytest.raises(ClientHelloError, match=why):
        read(hello(server_name(name)))


@pytest.mark.parametrize("length", [0, 2**14 + 1, 2**16 - 1])
def test_a_record_of_no_allowed_length_is_refused_by_its_header(length: int) -> None:
    with pytest.raises(ClientHelloError, match=f"record of {length} bytes"):
        read(b"\x16\3\1" + length.to_bytes(2))


@pytest.mark.parametrize("header", [b"\x17", b"\x15", b"\x16\2", b"\x16\3\5", b"\x16\3\1\0\0"])
def test_within_a_hello_there_is_nothing_but_handshake_records(header: bytes) -> None:
    begun = record(message(body())[:7])
    with pytest.raises(ClientHelloError):
        read(begun + header)


def test_nothing_may_share_the_last_record_with_it() -> None:
    with pytest.raises(ClientHelloError, match="behind the ClientHello"):
        read(record(message(body()) + b"\x14"))


# Cuts


def test_each_byte_may_come_in_a_record_and_a_segment_of_its_own() -> None:
    whole = message(body(server_name(NAME), alpn(b"h2", b"http/1.1")))
    assert read(singly(records(whole, [1]))) == SAID


@pytest.mark.parametrize("size", [2**14, 2**14 - 1, 5000, 300, 40])
def test_a_hello_of_more_than_16_kib_comes_in_records_of_any_size(size: int) -> None:
    shares = extension(KEY_SHARE, vector(2, b"\x11\xec" + vector(2, bytes(20_000))))
    whole = message(body(shares, server_name(NAME), alpn(b"h2", b"http/1.1")))
    assert read(records(whole, [size])) == SAID


def test_a_big_hello_may_come_byte_by_byte() -> None:
    big = records(hello_of(60 * 1024, server_name(NAME)), [2**14])
    reader = HelloReader()
    assert all(reader.feed(big[at : at + 1]) is None for at in range(len(big) - 1))
    assert reader.feed(big[-1:]) == ClientHello(NAME)


@given(into_records=SIZES, into_segments=SIZES)
def test_no_cut_changes_what_is_read(into_records: list[int], into_segments: list[int]) -> None:
    whole = message(body(extension(GREASE), server_name(NAME), alpn(b"h2", b"http/1.1")))
    assert read(cut(records(whole, into_records), into_segments)) == SAID


# Bounds


def test_the_longest_hello_is_read() -> None:
    most = MAX_HELLO - 4 * 5  # the headers of four records
    assert read(records(hello_of(most, server_name(NAME)))) == ClientHello(NAME)
    with pytest.raises(ClientHelloError, match="more than 65536 bytes"):
        read(records(hello_of(most + 1, server_name(NAME))))


@pytest.mark.parametrize("length", [MAX_HELLO - 8, 2**24 - 1])
def test_a_longer_one_is_refused_by_its_length(length: int) -> None:
    reader = HelloReader()
    header = record(bytes(2**14))[:5] + b"\1" + length.to_bytes(3)
    assert reader.feed(header[:-1]) is None
    with pytest.raises(ClientHelloError, match="more than 65536 bytes"):
        reader.feed(header[-1:])


@given(sizes=SIZES, length=st.integers(0, 2**24 - 1))
@example(sizes=[1], length=30_000)
def test_no_more_than_the_longest_hello_is_ever_waited_for(sizes: list[int], length: int) -> None:
    endless = records(b"\1" + length.to_bytes(3) + bytes(MAX_HELLO), sizes)
    with pytest.raises(HelloError):
        read(cut(endless[: MAX_HELLO + 1], [1000]))


# Any bytes


@given(data=st.binary(max_size=300), into=SIZES)
def test_any_bytes_are_read_or_refused(data: bytes, into: list[int]) -> None:
    assert outcome(cut(data, into)) == outcome(data) == outcome(singly(data))


@given(content=st.binary(max_size=300), into=SIZES)
def test_any_hello_is_read_or_refused(content: bytes, into: list[int]) -> None:
    whole = message(content)
    assert outcome(cut(records(whole, into), into)) == outcome(records(whole)) is not None


@given(parts=st.lists(st.tuples(st.sampled_from([0, 16, 21, GREASE]), st.binary(max_size=40)), max_size=5))
def test_any_extensions_are_read_or_refused(parts: list[tuple[int, bytes]]) -> None:
    assert outcome(hello(*(extension(kind, data) for kind, data in parts))) is not None


@given(
    start=st.sampled_from([GOOD, real_hello(NAME, ["h2"]), records(GOOD[5:], [20])]),
    changes=st.lists(st.tuples(st.integers(0, 600), st.sampled_from("=+-"), st.integers(0, 255)), max_size=4),
    into=SIZES,
)
def test_a_spoilt_hello_is_read_or_refused(
    start: bytes, changes: list[tuple[int, str, int]], into: list[int]
) -> None:
    data = bytearray(start)
    for place, change, value in changes:
        at = place % len(data)
        data[at : at + (change != "+")] = b"" if change == "-" else bytes([value])
    spoilt = bytes(data)
    assert outcome(cut(spoilt, into)) == outcome(spoilt) == outcome(singly(spoilt))
