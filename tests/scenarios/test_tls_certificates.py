"""Which certificate a client is shown: by the name it asks for, and by what it can verify."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from support.certificates import Authority
from support.daemon import Daemon
from support.nginx import nginx
from support.tls_clients import common_name, curl, new_address, record_of, s_client

FIRST, SECOND, BOTH, WHOLE, CHAINED = (
    f"{name}.example" for name in ("first", "second", "both", "whole", "chained")
)
WILDCARD, EXACT = "*.wild.example", "exact.wild.example"
ALIASES = ("one.example", "*.two.example")

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web.tls]
certificates = [
  {{ cert = "first.pem", key = "first.key" }},
  {{ cert = "second.pem", key = "second.key" }},
  {{ cert = "wildcard.pem", key = "wildcard.key" }},
  {{ cert = "exact.pem", key = "exact.key" }},
  {{ cert = "ecdsa.pem", key = "ecdsa.key" }},
  {{ cert = "rsa.pem", key = "rsa.key" }},
  {{ cert = "aliases.pem", key = "aliases.key" }},
  {{ cert = "chained.pem", key = "chained.key" }},
  {{ cert = "whole.pem" }},
]

[pools.web]
backends = ["{backend}"]
"""

pytestmark = pytest.mark.requires("nginx", "curl", "openssl")


@frozen
class Edge:
    """A balancer with many certificates, and the one authority that its clients believe."""

    daemon: Daemon
    root: Path

    def shown(self, name: str | None, *options: str, source: str = "127.0.0.1") -> str:
        """Ask for a page; give what openssl prints."""
        output = s_client(
            self.daemon.port, "-CAfile", self.root, "-verify_return_error", *options, name=name, source=source
        )
        assert "\npage\n" in output
        return output


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("tls-certificates")
    authority = Authority.root()
    authority.issue(folder, "first", FIRST)
    authority.issue(folder, "second", SECOND)
    authority.issue(folder, "wildcard", WILDCARD)
    authority.issue(folder, "exact", EXACT)
    authority.issue(folder, "ecdsa", BOTH)
    authority.issue(folder, "rsa", BOTH, kind="rsa")
    authority.issue(folder, "aliases", *ALIASES)
    authority.intermediate().issue(folder, "chained", CHAINED)
    whole = authority.issue(folder, "whole", WHOLE)
    whole.certificate.write_bytes(whole.certificate.read_bytes() + whole.key.read_bytes())
    whole.key.unlink()
    with nginx("page") as (server,), Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        yield Edge(daemon, authority.write(folder / "root.pem"))


@pytest.mark.parametrize(
    "name",
    [FIRST, SECOND, "any.wild.example", EXACT, BOTH, "one.example", "any.two.example", CHAINED, WHOLE],
)
def test_curl_believes_the_certificate_of_each_name(edge: Edge, name: str) -> None:
    assert curl(edge.daemon.port, name, edge.root) == "page\n"


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (SECOND, SECOND),
        ("Second.EXAMPLE", SECOND),
        ("any.wild.example", WILDCARD),
        ("ANY.Wild.example", WILDCARD),
        (EXACT, EXACT),
        ("any.two.example", "one.example"),
    ],
)
def test_the_certificate_is_that_of_the_name(edge: Edge, name: str, owner: str) -> None:
    assert common_name(edge.shown(name)) == owner


@pytest.mark.parametrize("name", ["unknown.example", "a.b.wild.example", "wild.example", None])
def test_for_a_name_that_is_in_none_it_is_the_first(edge: Edge, name: str | None) -> None:
    address = new_address()
    assert common_name(edge.shown(name, source=address)) == FIRST
    assert record_of(edge.daemon, address)["server_name"] == name


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "ECDSA"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "RSA"),
        (("-tls1_3", "-sigalgs", "ECDSA+SHA256"), "ECDSA"),
        (("-tls1_3", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256:ECDSA+SHA384"), "RSA"),
    ],
    ids=["ECDSA, 1.2", "RSA, 1.2", "ECDSA, 1.3", "RSA, 1.3"],
)
def test_one_name_has_certificates_of_both_kinds_for_clients_of_either(
    edge: Edge, options: tuple[str, ...], kind: str
) -> None:
    output = edge.shown(BOTH, *options)
    assert common_name(output) == BOTH
    found = re.search(r"^Peer signature type: (ECDSA|RSA)", output, re.MULTILINE)
    assert found is not None
    assert found[1] == kind


def test_what_stands_between_the_certificate_and_the_root_is_sent_along(edge: Edge) -> None:
    output = edge.shown(CHAINED, "-showcerts")
    assert "Verify return code: 0 (ok)" in output
    assert re.findall(r"^ \d s:CN ?= ?(\S+)$", output, re.MULTILINE) == [CHAINED, "Intermediate"]
