"""What clients offer in TLS: one version, cipher and group, so that all contestants have the same to do."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

VERSION, CIPHER, GROUP = "TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519"
"""What OpenSSL 3.0 chooses by itself on both sides; later ones would choose another group."""

_CONFIG = f"""\
openssl_conf = clients
[clients]
ssl_conf = of_tls
[of_tls]
system_default = offer
[offer]
MinProtocol = {VERSION}
Ciphersuites = {CIPHER}
Groups = {GROUP}
"""


def environment(folder: Path) -> dict[str, str]:
    """Give what makes programs with OpenSSL offer this and nothing else.

    :param folder: for the file that says so.
    """
    config = folder / "client.cnf"
    config.write_text(_CONFIG)
    return {"OPENSSL_CONF": f"{config}"}


@cache
def context() -> ssl.SSLContext:
    """Make what clients in Python connect with; none of them offers a session of an earlier connection."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    # Whom they talk to is known: it is the proxy that we have just started.
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made
