"""TLS to the backends: what they are asked for and shown, and which of them are believed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.certificates import Authority, self_signed
from support.clients import ask, connect
from support.daemon import Daemon
from support.tls_peers import REQUEST, configured, fetch, page, quoted, records_of, served

NAME, OTHER = "web.example", "other.example"
SHOWN = 'certificate = { cert = "balancer.pem", key = "balancer.key" }\n'

pytestmark = pytest.mark.requires("nginx")


def _backends(stack: ExitStack, folder: Path) -> dict[str, str]:
    """Start all there are, and give their addresses by what is special about each."""
    authority = Authority.root()
    root = authority.write(folder / "root.pem")
    authority.issue_client(folder, "balancer", "CN=balancer")
    named, other, local, numbered, elsewhere = (
        authority.issue(folder, names[0], *names)
        for names in ((NAME, "both.example"), (OTHER,), ("localhost",), ("127.0.0.1",), ("127.0.0.2",))
    )
    unknown = Authority.root("Unknown").issue(folder, "unknown", "127.0.0.1")
    asking = f"ssl_verify_client on; ssl_client_certificate {root};"
    about = "$ssl_protocol $ssl_server_name $ssl_client_s_dn $ssl_session_reused"
    pages = {
        "1.2": page(named.certificate, named.key, about, f"ssl_protocols TLSv1.2; {asking}"),
        "1.3": page(named.certificate, named.key, about, f"ssl_protocols TLSv1.3; {asking}"),
        "named": page(named.certificate, named.key, "named <$ssl_server_name>"),
        "other": page(other.certificate, other.key, "other <$ssl_server_name>"),
        "local": page(local.certificate, local.key, "local <$ssl_server_name>"),
        "numbered": page(numbered.certificate, numbered.key, "numbered <$ssl_server_name>"),
        "elsewhere": page(elsewhere.certificate, elsewhere.key),
        "unknown": page(unknown.certificate, unknown.key),
        "self-signed": page(*self_signed(folder, "nobody.example")),
    }
    return {name: stack.enter_context(server).address for name, server in pages.items()}


def _config(at: dict[str, str]) -> str:
    ours, named = 'ca = "root.pem"\n', f'server_name = "{NAME}"\n'
    by_name = [f'{{ address = "{at[of]}", server_name = "{name}" }}' for of, name in WHOSE.items()]
    local = at["local"].replace("127.0.0.1", "localhost")
    return configured(
        [
            served("version-12", quoted(at["1.2"]), tls=ours + named + SHOWN),
            served("version-13", quoted(at["1.3"]), tls=ours + named + SHOWN),
            served("shows-nothing", quoted(at["1.3"]), tls=ours + named),
            served("each-its-own", *by_name, tls=ours + 'server_name = "nobody.example"'),
            served("some-their-own", by_name[1], quoted(at["named"]), tls=ours + named),
            served("host", quoted(local), tls=ours),
            served("ip", quoted(at["numbered"]), tls=ours),
            served("another-ip", quoted(at["elsewhere"]), tls=ours),
            served("unverified", quoted(at["self-signed"]), tls="verify = false"),
            served("system", quoted(at["numbered"]), tls=""),
            served("system-lacks-it", quoted(at["unknown"]), tls=""),
        ]
    )


WHOSE = {"named": NAME, "other": OTHER}


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory, data_path: object) -> Iterator[Daemon]:
    """A frontend and a pool for each thing to be seen; the system believes in the same authority."""
    folder = tmp_path_factory.mktemp("tls-backends")
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("SSL_CERT_FILE", f"{folder}/root.pem")
        environment.setenv("SSL_CERT_DIR", f"{folder}/nothing-is-here")
        yield stack.enter_context(Daemon(_config(_backends(stack, folder)), folder))


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_backend_is_asked_by_name_shown_a_certificate_and_met_again(
    balancer: Daemon, version: str
) -> None:
    frontend = f"version-{version.replace('.', '')}"
    answers = [fetch(balancer.ports[frontend]) for _ in range(4)]
    # The last is nginx's word on the session: new, and then reused.
    assert answers == [f"TLSv{version} {NAME} CN=balancer {seen}" for seen in (".", "r", "r", "r")]
    records = records_of(balancer, frontend, 4)
    assert {(record["reason"], record["attempts"]) for record in records} == {("backend_closed", 1)}


def test_a_pool_without_a_certificate_shows_none(balancer: Daemon) -> None:
    answer = ask(balancer.ports["shows-nothing"], REQUEST, finish=False)
    assert b"No required SSL certificate was sent" in answer


def test_backends_of_different_names_are_each_asked_for_their_own(balancer: Daemon) -> None:
    answers = [fetch(balancer.ports["each-its-own"]) for _ in range(8)]
    assert sorted(answers) == [f"{of} <{name}>" for of, name in WHOSE.items() for _ in range(4)]
    assert {record["attempts"] for record in records_of(balancer, "each-its-own", 8)} == {1}


def test_a_backend_without_a_name_of_its_own_is_asked_for_the_pools(balancer: Daemon) -> None:
    answers = {fetch(balancer.ports["some-their-own"]) for _ in range(4)}
    assert answers == {f"named <{NAME}>", f"other <{OTHER}>"}


def test_without_any_name_the_host_of_the_address_is_asked_for(balancer: Daemon) -> None:
    assert fetch(balancer.ports["host"]) == "local <localhost>"


def test_an_ip_address_is_looked_for_in_the_certificate_and_not_asked_for(balancer: Daemon) -> None:
    assert fetch(balancer.ports["ip"]) == "numbered <>"


def test_a_certificate_for_another_ip_address_is_refused(balancer: Daemon) -> None:
    assert cause(balancer, "another-ip") == "TLS: certificate is not for 127.0.0.1"


def test_whoever_is_there_is_believed_where_nothing_is_verified(balancer: Daemon) -> None:
    assert fetch(balancer.ports["unverified"]) == "page"


def test_the_systems_authorities_are_believed_where_none_are_given(balancer: Daemon) -> None:
    assert fetch(balancer.ports["system"]) == "numbered <>"


def test_an_authority_that_the_system_lacks_is_refused(balancer: Daemon) -> None:
    assert cause(balancer, "system-lacks-it") == "TLS: certificate of an unknown authority"


def cause(balancer: Daemon, frontend: str) -> str:
    """Why the only backend of a frontend cannot serve."""
    with connect(balancer.ports[frontend]) as client:
        assert client.recv(1) == b""
    (record,) = records_of(balancer, frontend)
    found: str = record["cause"]
    return found
