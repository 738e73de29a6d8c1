"""The client's side of TLS 1.3 (RFC 8446), made as cheap as a client can be that makes only full handshakes.

A proxy must be kept busy from the cores that it leaves, and with a real library a client spends as much on a
handshake as the proxy does, or more: verifying a signature of ECDSA takes three times as long as making one.
This one makes its key share once, verifies no certificate, and offers one version, one cipher and one group.
To the proxy it looks like any other: both sides derive their keys from fresh bytes of the proxy's, both
Finished are verified, and no session is ever offered to be resumed.
"""

from __future__ import annotations

import hmac
import os
from functools import cache
from hashlib import sha384
from struct import unpack_from

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.certificates import NAME
from bench.errors import Failed

_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_CLIENT_HELLO, _SERVER_HELLO, _FINISHED = 1, 2, 20

_TLS_1_2, _TLS_1_3 = b"\x03\x03", b"\x03\x04"
_AES_256_GCM_SHA384 = b"\x13\x02"
_X25519 = b"\x00\x1d"
_SIGNATURES = b"\x04\x03\x08\x04\x04\x01"
"""ECDSA on P-256, PSS with RSA, and for the certificate PKCS#1 with RSA, each with SHA-256."""

_SERVER_NAME, _GROUPS, _SIGNATURE_ALGORITHMS, _VERSIONS, _PSK_MODES, _KEY_SHARE = 0, 10, 13, 43, 45, 51

_HASH_SIZE, _KEY_SIZE, _NONCE_SIZE = 48, 32, 12
_HEADER_SIZE = 5

_MIDDLEBOX = bytes((_CHANGE_CIPHER_SPEC, *_TLS_1_2, 0, 1, 1))
"""What clients send for the sake of middleboxes, appendix D.4."""


def _extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, "sha384")


def _expand(secret: bytes, label: bytes, context: bytes, size: int = _HASH_SIZE) -> bytes:
    """HKDF-Expand-Label, section 7.1, for as much as one hash gives."""
    return hmac.digest(secret, b"%b%c%b\x01" % (_label(label, size), len(context), context), "sha384")[:size]


@cache
def _label(label: bytes, size: int) -> bytes:
    return size.to_bytes(2) + _short(b"tls13 " + label)


def _short(content: bytes) -> bytes:
    return len(content).to_bytes(1) + content


def _long(content: bytes) -> bytes:
    return len(content).to_bytes(2) + content


_NOTHING = sha384().digest()
_BEFORE_SHARED = _expand(_extract(bytes(_HASH_SIZE), bytes(_HASH_SIZE)), b"derived", _NOTHING)
"""What the handshake secret is extracted with; without sessions it is always the same."""


@frozen
class Offer:
    """What every connection begins with.

    :ivar key: the client's share of the key exchange.
    :ivar hello: the message ClientHello.
    """

    key: X25519PrivateKey = field(factory=X25519PrivateKey.generate)
    hello: bytes = field(init=False)

    @hello.default
    def _make_hello(self) -> bytes:
        share = _X25519 + _long(self.key.public_key().public_bytes_raw())
        extensions = {
            _SERVER_NAME: _long(b"\x00" + _long(NAME.encode())),
            _GROUPS: _long(_X25519),
            _SIGNATURE_ALGORITHMS: _long(_SIGNATURES),
            _VERSIONS: _short(_TLS_1_3),
            # With this, tickets are sent, as to any other client.
            _PSK_MODES: _short(b"\x01"),
            _KEY_SHARE: _long(share),
        }
        body = b"".join(
            (
                _TLS_1_2,
                os.urandom(32),
                _short(os.urandom(32)),
                _long(_AES_256_GCM_SHA384),
                _short(b"\x00"),
                _long(b"".join(kind.to_bytes(2) + _long(content) for kind, content in extensions.items())),
            )
        )
        return _message(_CLIENT_HELLO, body)


class _Direction:
    """Protects records one way, section 5.2."""

    __slots__ = ("_cipher", "_count", "_nonce")

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(_expand(secret, b"key", b"", _KEY_SIZE))
        self._nonce = int.from_bytes(_expand(secret, b"iv", b"", _NONCE_SIZE))
        self._count = 0

    def seal(self, kind: int, content: bytes) -> bytes:
        """Make a record."""
        header = _header(_DATA, len(content) + 17)
        return header + self._cipher.encrypt(self._next_nonce(), content + bytes((kind,)), header)

    def open(self, record: bytes) -> tuple[int, bytes]:
        """Give the kind and the content of a record."""
        header, sealed = record[:_HEADER_SIZE], record[_HEADER_SIZE:]
        plain = self._cipher.decrypt(self._next_nonce(), sealed, header).rstrip(b"\x00")
        return plain[-1], plain[:-1]

    def _next_nonce(self) -> bytes:
        count, self._count = self._count, self._count + 1
        return (self._nonce ^ count).to_bytes(_NONCE_SIZE)


def _message(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3) + body


def _header(kind: int, size: int) -> bytes:
    return b"%c%b%b" % (kind, _TLS_1_2, size.to_bytes(2))


@define
class Client:
    """One connection, without its socket: what comes goes into `feed`, and what that returns is to be sent.

    :param offer: what it begins with.
    :param request: what is sent in the handshake's last packet.
    :ivar received: what the server has sent after the handshake.
    :ivar ended: whether the server has said that no more comes.
    """

    offer: Offer
    request: bytes
    received: bytes = field(default=b"", init=False)
    ended: bool = field(default=False, init=False)
    _came: bytes = field(default=b"", init=False)
    _messages: bytes = field(default=b"", init=False)
    _heard: bytes = field(default=b"", init=False)
    _secret: bytes = field(default=b"", init=False)
    _ours: bytes = field(default=b"", init=False)
    _theirs: bytes = field(default=b"", init=False)
    _sending: _Direction | None = field(default=None, init=False)
    _receiving: _Direction | None = field(default=None, init=False)

    def start(self) -> bytes:
        """Give the first that is to be sent."""
        self._heard = self.offer.hello
        return _header(_HANDSHAKE, len(self.offer.hello)) + self.offer.hello

    def feed(self, data: bytes) -> bytes:
        """Take what came, and give what is to be sent next.

        :raises Failed: when the server does not go along.
        :raises InvalidTag: when its keys are not ours.
        """
        self._came += data
        answer = b""
        while record := self._next_record():
            answer += self._take(record)
        return answer

    def end(self) -> bytes:
        """Give what tells the server that no more comes."""
        assert self._sending is not None
        return self._sending.seal(_ALERT, b"\x01\x00")

    def _next_record(self) -> bytes:
        """Take a whole record off what came; nothing while there is none."""
        if len(self._came) < _HEADER_SIZE:
            return b""
        end = _HEADER_SIZE + int.from_bytes(self._came[3:_HEADER_SIZE])
        if len(self._came) < end:
            return b""
        record, self._came = self._came[:end], self._came[end:]
        return record

    def _take(self, record: bytes) -> bytes:
        kind = record[0]
        if kind == _CHANGE_CIPHER_SPEC:
            return b""
        if self._receiving is None:
            return self._agree(kind, record[_HEADER_SIZE:])
        kind, content = self._receiving.open(record)
        if self._sending is None:
            return self._take_message(kind, content)
        if kind == _DATA:
            self.received += content
        elif kind == _ALERT:
            self._alerted(content)
        # What is left are tickets, which are for those who come again.
        return b""

    def _alerted(self, content: bytes) -> None:
        if content[1] != 0:
            raise Failed(f"alert {content[1]} of TLS")
        self.ended = True

    def _agree(self, kind: int, message: bytes) -> bytes:
        """Take the ServerHello: the keys of the handshake follow from it."""
        if kind == _ALERT:
            self._alerted(message)
        if kind != _HANDSHAKE or message[0] != _SERVER_HELLO:
            raise Failed("no ServerHello")
        self._heard += message
        shared = self.offer.key.exchange(X25519PublicKey.from_public_bytes(_share_in(message)))
        self._secret = _extract(_BEFORE_SHARED, shared)
        whole = sha384(self._heard).digest()
        self._ours = _expand(self._secret, b"c hs traffic", whole)
        self._theirs = _expand(self._secret, b"s hs traffic", whole)
        self._receiving = _Direction(self._theirs)
        return b""

    def _take_message(self, kind: int, content: bytes) -> bytes:
        """Take more of the server's handshake; with the end of it, give ours and the request."""
        if kind == _ALERT:
            self._alerted(content)
        self._messages += content
        while len(self._messages) >= 4:
            end = 4 + int.from_bytes(self._messages[1:4])
            if len(self._messages) < end:
                break
            message, self._messages = self._messages[:end], self._messages[end:]
            if message[0] == _FINISHED:
                return self._finish(message)
            self._heard += message
        return b""

    def _finish(self, message: bytes) -> bytes:
        """Take the server's Finished; give ours, and the request."""
        if not hmac.compare_digest(message[4:], _proof(self._theirs, self._heard)):
            raise Failed("a Finished that does not fit")
        self._heard += message
        whole = sha384(self._heard).digest()
        master = _extract(_expand(self._secret, b"derived", _NOTHING), bytes(_HASH_SIZE))
        self._receiving = _Direction(_expand(master, b"s ap traffic", whole))
        self._sending = _Direction(_expand(master, b"c ap traffic", whole))
        finished = _message(_FINISHED, _proof(self._ours, self._heard))
        return (
            _MIDDLEBOX
            + _Direction(self._ours).seal(_HANDSHAKE, finished)
            + self._sending.seal(_DATA, self.request)
        )


def _proof(secret: bytes, heard: bytes) -> bytes:
    """Give what a Finished holds after what was heard so far, section 4.4.4."""
    return hmac.digest(_expand(secret, b"finished", b""), sha384(heard).digest(), "sha384")


def _share_in(hello: bytes) -> bytes:
    """Find the server's key share in its ServerHello.

    :raises Failed: when it has chosen something else than was offered.
    """
    at = 4 + 2 + 32
    at += 1 + hello[at]
    cipher = hello[at : at + 2]
    at += 2 + 1 + 2
    while at < len(hello):
        kind, size = unpack_from(">HH", hello, at)
        at += 4
        content = hello[at : at + size]
        if kind == _KEY_SHARE and cipher == _AES_256_GCM_SHA384 and content[:2] == _X25519:
            return content[4:]
        at += size
    raise Failed("the server has chosen something else than was offered")
