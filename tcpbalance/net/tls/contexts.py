"""What is the same for all TLS that we speak, at either end.

The suites are those of Mozilla's "intermediate" configuration, version 5.7 of its guidelines
(wiki.mozilla.org/Security/Server_Side_TLS), without its three DHE suites: they need parameters of their own,
and each client that it is meant for can do ECDHE. Other than there, our order counts, because scanners take
the lack of one for a weakness; but a client that has no AES hardware, and puts ChaCha20 first, gets that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509StoreFlags

from tcpbalance.config.tls import CertificateConfig
from tcpbalance.net.tls.errors import TlsFileError, openssl_words
from tcpbalance.net.tls.files import TRUSTED, Chain, read_chain, read_file

SUITES_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
SUITES_1_2 = b":".join(
    (
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"ECDHE-RSA-AES128-GCM-SHA256",
        b"ECDHE-ECDSA-AES256-GCM-SHA384",
        b"ECDHE-RSA-AES256-GCM-SHA384",
        b"ECDHE-ECDSA-CHACHA20-POLY1305",
        b"ECDHE-RSA-CHACHA20-POLY1305",
    )
)

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

_PRIORITIZE_CHACHA = 1 << 21
"""SSL_OP_PRIORITIZE_CHACHA of OpenSSL's ssl.h, which pyOpenSSL does not name: SSL_CTX_set_options(3)."""

# An end of the stream without a close_notify is taken for one, as HAProxy and nginx do: many programs close
# like that, and what they have sent is complete. Without OP_IGNORE_UNEXPECTED_EOF it would be an error.
_CONTEXT_OPTIONS = (
    SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_IGNORE_UNEXPECTED_EOF
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | _PRIORITIZE_CHACHA
)


_PRIVATE_KEY = re.compile(rb"^-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----", re.MULTILINE)

_ENCRYPTED = re.compile(
    rb"^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type:\s*4\s*,\s*ENCRYPTED", re.MULTILINE
)
"""PKCS #8 (RFC 7468, section 11), and the form of old (RFC 1421, section 4.6.1.1)."""

_OF_ANOTHER = ("key values mismatch", "key type mismatch", "no certificate assigned")
"""What OpenSSL says of a key that belongs to another certificate."""


def new_context(minimum_version: str = "1.2") -> SSL.Context:
    """Make a context with nothing in it but our settings.

    :param minimum_version: ``"1.2"`` or ``"1.3"``.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(VERSIONS[minimum_version])
    context.set_options(_CONTEXT_OPTIONS)
    # A connection that is quiet gives its buffers back: SSL_CTX_set_mode(3).
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_tls13_ciphersuites(SUITES_1_3)
    context.set_cipher_list(SUITES_1_2)
    return context


def load_chain(files: CertificateConfig) -> Chain:
    """Read a certificate, and see that OpenSSL takes it with its key.

    :raises TlsFileError: it does not; at ``cert`` or ``key``.
    """
    chain = read_chain(files)
    add_chain(new_context(), chain)
    return chain


def add_chain(context: SSL.Context, chain: Chain) -> None:
    """Give a context a certificate to show.

    :raises TlsFileError: OpenSSL does not take it, or its key.
    """
    cert, key = chain.files.cert, chain.files.key
    try:
        context.use_certificate_chain_file(cert)
    except SSL.Error as error:
        raise TlsFileError("cert", f"OpenSSL refuses {cert}: {openssl_words(error)}") from error
    _refuse_unreadable_key(chain.files)
    try:
        context.use_privatekey_file(key)
        context.check_privatekey()
    except SSL.Error as error:
        raise TlsFileError("key", _flaw_of_key(chain.files, error)) from error


def _refuse_unreadable_key(files: CertificateConfig) -> None:
    """See that OpenSSL finds a key, and does not ask for a passphrase at the terminal."""
    data = read_file("key", files.key)
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in data:
        raise TlsFileError(
            "key",
            f"the key in {files.key} is written in a form of OpenSSH's own: write it in PEM, by ssh-keygen "
            f"-p -m PEM -f {files.key}",
        )
    if not _PRIVATE_KEY.search(data):
        at, remedy = "key", ""
        if files.key == files.cert:
            at, remedy = "cert", ", write it there or name its file with key"
        raise TlsFileError(at, f"{files.key} holds no private key in PEM that can be read{remedy}")
    if _ENCRYPTED.search(data):
        raise TlsFileError(
            "key",
            f"the key in {files.key} has a passphrase, which cannot be entered: write it without one, "
            f"by openssl pkey -in {files.key} -out NEW",
        )


def _flaw_of_key(files: CertificateConfig, error: SSL.Error) -> str:
    words = openssl_words(error)
    if words in _OF_ANOTHER:
        return f"the key in {files.key} does not belong to the certificate in {files.cert}"
    if words == "unsupported":
        return f"OpenSSL finds no key in {files.key} that it can read, write it anew"
    return f"OpenSSL refuses the key in {files.key}: {words}"


def trust(context: SSL.Context, key: str, path: str) -> None:
    """Let a context believe in the authorities of a file.

    :raises TlsFileError: at *key*; OpenSSL does not take it.
    """
    try:
        context.load_verify_locations(path)
    except SSL.Error as error:
        raise TlsFileError(key, f"OpenSSL refuses {path}: {openssl_words(error)}") from error


def name_authorities(context: SSL.Context, key: str, path: str) -> None:
    """Let a context send clients the names of the authorities of a file.

    :raises TlsFileError: at *key*; OpenSSL would leave one out.
    """
    if b"-----BEGIN " + TRUSTED in read_file(key, path):
        raise TlsFileError(
            key,
            f"{path} has a BEGIN TRUSTED CERTIFICATE, which clients would not receive: write each of "
            f"these anew by openssl x509 -in OLD -out NEW",
        )
    try:
        context.load_client_ca(path.encode())
    except SSL.Error as error:
        raise TlsFileError(key, f"OpenSSL refuses {path}: {openssl_words(error)}") from error


def use_revocations(context: SSL.Context, revocations: Iterable[x509.CertificateRevocationList]) -> None:
    """Let a context refuse what is in one of the lists, and what none of them is for."""
    store = context.get_cert_store()
    assert store is not None
    for each in revocations:
        store.add_crl(each)
    store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
