"""Notes why OpenSSL does not believe a certificate, which it reports only to its callback."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

_WORDS = {
    2: "certificate of its issuer not found",
    3: "no revocation list of its issuer",
    7: "certificate has a wrong signature",
    8: "revocation list has a wrong signature",
    9: "certificate not valid yet",
    10: "certificate expired",
    11: "revocation list not valid yet",
    12: "revocation list expired",
    18: "certificate self-signed",
    19: "certificate of an unknown authority",
    20: "certificate of an unknown authority",
    21: "certificate of an unknown authority",
    22: "certificate chain too long",
    23: "certificate revoked",
    24: "certificate of no authority in its chain",
    26: "certificate for another purpose",
    33: "authority of the revocation list not found",
    35: "revocation list of an authority that may not sign any",
    36: "revocation list with a critical extension that OpenSSL does not know",
    44: "revocation list for other certificates of its authority",
    66: "certificate has a key that is too weak",
    67: "certificate of an authority whose key is too weak",
    68: "certificate signed with too weak a digest",
}
"""By the X509_V_ERR_ numbers of OpenSSL's x509_vfy.h; described in X509_STORE_CTX_get_error(3)."""

ABOUT_OUR_LISTS = frozenset(_WORDS[number] for number in (3, 8, 11, 12, 33, 35, 36, 44))
"""What is wrong with the revocation lists that we were given, and not with the certificate."""

_WITH_SUBJECT = (9, 10, 23)
"""Those that may be said of an authority as well."""


def note_why(connection: SSL.Connection, certificate: Any, error: int, depth: int, good: int) -> bool:
    """OpenSSL's call for each certificate of a chain; what was wrong is kept with the connection."""
    if not good:
        words = _WORDS.get(error, f"certificate refused (OpenSSL's error {error})")
        connection.set_app_data(f"authority's {words}" if depth and error in _WITH_SUBJECT else words)
    return bool(good)


def why(connection: SSL.Connection) -> str | None:
    """Give what was noted, None where nothing was wrong."""
    noted = connection.get_app_data()
    return noted if isinstance(noted, str) else None  # Twisted keeps things of its own there.
