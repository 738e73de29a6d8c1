"""Records of TLS made by hand, for peers that send what no library sends: RFC 8446, sections 5.2 and 7.1."""

from __future__ import annotations

import hmac
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

HANDSHAKE, DATA = 22, 23

CLIENT, SERVER = "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"
"""What key logs call the secret of each end: RFC 9850, section 2."""


class Sealer:
    """Encrypts what one end sends, in the place of its library; suite TLS_AES_128_GCM_SHA256.

    :param secret: the first one of that end for data.
    :param sent: records that the end has sent under it.
    """

    def __init__(self, secret: bytes, sent: int = 0) -> None:
        self._begin(secret, sent)

    def _begin(self, secret: bytes, sent: int = 0) -> None:
        self._secret = secret
        self._number = sent
        self._aead = AESGCM(_expand(secret, b"key", 16))
        self._iv = int.from_bytes(_expand(secret, b"iv", 12), "big")

    def record(self, content: bytes, kind: int = DATA) -> bytes:
        """Make one record."""
        header = struct.pack("!BHH", DATA, 0x0303, len(content) + 1 + 16)
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._aead.encrypt(nonce, content + bytes([kind]), header)

    def key_update(self, *, requested: bool = False) -> bytes:
        """Make a record that says that the next one is under a new key: RFC 8446, section 4.6.3."""
        record = self.record(bytes([24, 0, 0, 1, requested]), HANDSHAKE)
        self._begin(_expand(self._secret, b"traffic upd", 32))
        return record

    def key_updates(self, count: int, *, requested: bool = False) -> bytes:
        """Make so many of them."""
        return b"".join(self.key_update(requested=requested) for _ in range(count))


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446, section 7.1, without a context."""
    full = b"tls13 " + label
    info = struct.pack("!HB", size, len(full)) + full + b"\0"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)


class KeyLog:
    """Writes down the secrets of the connections of a context, the last of each kind.

    :param context: made to agree on the suite that `Sealer` knows.
    """

    def __init__(self, context: SSL.Context) -> None:
        self._secrets: dict[str, bytes] = {}
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        context.set_keylog_callback(lambda _, line: self._note(line))

    def _note(self, line: bytes) -> None:
        label, _, secret = line.decode().split(" ")
        self._secrets[label] = bytes.fromhex(secret)

    def sealer(self, end: str, sent: int = 0) -> Sealer:
        """Encrypt for one end, once the handshake is over."""
        return Sealer(self._secrets[end], sent)


SUITE_1_2 = b"ECDHE-ECDSA-AES128-GCM-SHA256"
"""The one that `SealerOfOld` knows."""


class SealerOfOld:
    """Encrypts what an end of TLS 1.2 sends behind its handshake: RFC 5246, section 6, and RFC 5288.

    :param connection: whose handshake is over.
    :param end: which of the two sends.
    """

    def __init__(self, connection: SSL.Connection, end: str = CLIENT) -> None:
        ours, theirs, secret = connection.client_random(), connection.server_random(), connection.master_key()
        assert ours is not None
        assert theirs is not None
        assert secret is not None
        keys = _prf(secret, b"key expansion" + theirs + ours, 40)
        key, salt = (keys[:16], keys[32:36]) if end == CLIENT else (keys[16:32], keys[36:])
        self._aead = AESGCM(key)
        self._salt = salt
        self._number = 1  # the last message of the handshake was the first
        self._request = 1 if end == CLIENT else 0

    def hello_request(self) -> bytes:
        """Make a record that asks for another handshake: a server's HelloRequest; of a client's ClientHello
        only the beginning."""
        return self.record(bytes([self._request, 0, 0, 0]), HANDSHAKE)

    def record(self, content: bytes, kind: int = DATA) -> bytes:
        """Make one record."""
        number = self._number.to_bytes(8, "big")
        self._number += 1
        start = struct.pack("!BH", kind, 0x0303)
        sealed = self._aead.encrypt(
            self._salt + number, content, number + start + struct.pack("!H", len(content))
        )
        return start + struct.pack("!H", len(number) + len(sealed)) + number + sealed


def _prf(secret: bytes, seed: bytes, size: int) -> bytes:
    """P_SHA256 of RFC 5246, section 5."""
    made, last = b"", seed
    while len(made) < size:
        last = hmac.digest(secret, last, "sha256")
        made += hmac.digest(secret, last + seed, "sha256")
    return made[:size]
