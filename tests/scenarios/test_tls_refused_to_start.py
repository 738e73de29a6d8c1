"""TLS settings that cannot be used are said in a line each, before anything listens."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from support.certificates import AN_HOUR_AGO, Authority, new_key, write_key
from support.command import command
from support.daemon import Daemon
from support.ports import free_port

FRONTEND = """
[frontends.{name}]
listen = "127.0.0.1:{port}"
pool = "web"

[frontends.{name}.tls]
{tls}
"""

POOL = """
[pools.web]
backends = ["127.0.0.1:9"]
"""

SOUND = 'certificates = [{ cert = "first.pem", key = "first.key" }, { cert = "second.pem" }]'

# The settings of a frontend each, the one that is wrong at the end; its key, and a few words of why.
MISTAKES = {
    "no-file": (
        'certificates = [{ cert = "missing.pem", key = "first.key" }]',
        "certificates[0].cert",
        "missing.pem.*no such file",
    ),
    "no-key-file": (
        'certificates = [{ cert = "first.pem", key = "missing.key" }]',
        "certificates[0].key",
        "missing.key.*no such file",
    ),
    "folder": (
        'certificates = [{ cert = ".", key = "first.key" }]',
        "certificates[0].cert",
        "directory",
    ),
    "empty-file": (
        'certificates = [{ cert = "empty.pem", key = "first.key" }]',
        "certificates[0].cert",
        "empty.pem.*no certificate",
    ),
    "text": (
        'certificates = [{ cert = "text.pem", key = "first.key" }]',
        "certificates[0].cert",
        "text.pem.*no certificate",
    ),
    "half-a-certificate": (
        'certificates = [{ cert = "half.pem", key = "first.key" }]',
        "certificates[0].cert",
        "half.pem.*certificate",
    ),
    "no-key-in-the-key-file": (
        'certificates = [{ cert = "first.pem", key = "text.pem" }]',
        "certificates[0].key",
        "text.pem.*no .*key",
    ),
    "no-key-in-the-file-of-both": (
        'certificates = [{ cert = "first.pem" }]',
        "certificates[0].cert",
        "first.pem.*no .*key",
    ),
    "key-of-another": (
        'certificates = [{ cert = "first.pem", key = "other.key" }]',
        "certificates[0].key",
        "other.key.*first.pem",
    ),
    "locked-key": (
        'certificates = [{ cert = "first.pem", key = "locked.key" }]',
        "certificates[0].key",
        "locked.key.*(encrypted|pass)",
    ),
    "expired": (
        'certificates = [{ cert = "expired.pem", key = "expired.key" }]',
        "certificates[0].cert",
        "expired.pem.*expired",
    ),
    "second-of-two": (
        'certificates = [\n  { cert = "first.pem", key = "first.key" },\n  { cert = "missing.pem" }]',
        "certificates[1].cert",
        "missing.pem.*no such file",
    ),
    "old-version": (f'{SOUND}\nminimum_version = "1.1"', "minimum_version", '"1.2".*"1.3"'),
    "no-authority": (f'{SOUND}\nclient_ca = "missing.pem"', "client_ca", "missing.pem.*no such file"),
    "key-for-an-authority": (f'{SOUND}\nclient_ca = "first.key"', "client_ca", "first.key.*no certificate"),
    "revoked-of-nobody": (f'{SOUND}\nclient_crl = "crl.pem"', "client_crl", "client_ca"),
    "no-list": (
        f'{SOUND}\nclient_ca = "root.pem"\nclient_crl = "missing.pem"',
        "client_crl",
        "missing.pem.*no such file",
    ),
    "list-of-another": (
        f'{SOUND}\nclient_ca = "root.pem"\nclient_crl = "another.pem"',
        "client_crl",
        "another.pem.*no list of CN=Root",
    ),
    "certificate-for-a-list": (
        f'{SOUND}\nclient_ca = "root.pem"\nclient_crl = "root.pem"',
        "client_crl",
        "root.pem.*no .*(list|crl)",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are sound, and such as are broken in one way each."""
    folder = tmp_path_factory.mktemp("tls-refused")
    authority = Authority.root()
    authority.write(folder / "root.pem")
    authority.revoke(folder / "crl.pem")
    Authority.root("Another").revoke(folder / "another.pem")
    first = authority.issue(folder, "first", "first.example")
    second = authority.issue(folder, "second", "second.example")
    second.certificate.write_bytes(second.certificate.read_bytes() + second.key.read_bytes())
    authority.issue(folder, "expired", "first.example", not_after=AN_HOUR_AGO)
    write_key(folder / "other.key", new_key())
    write_key(folder / "locked.key", new_key(), passphrase=b"secret")
    (folder / "empty.pem").write_text("")
    (folder / "text.pem").write_text("This is not what it says it is.\n")
    (folder / "half.pem").write_bytes(first.certificate.read_bytes()[:300])
    return folder


def config(tls: dict[str, str], port: int = 0) -> str:
    """Give a configuration with a frontend for each of several settings."""
    return "".join(FRONTEND.format(name=name, port=port, tls=text) for name, text in tls.items()) + POOL


def all_mistakes() -> str:
    """Give a configuration with every one of them."""
    return config({name: tls for name, (tls, _, _) in MISTAKES.items()})


def check(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Have a configuration checked."""
    file = folder / "tcpbalance.toml"
    file.write_text(text)
    # Whoever asks for a passphrase would wait for it.
    return command("check", file)


@pytest.fixture(scope="module")
def said(folder: Path) -> list[str]:
    """What is said of all mistakes, all at once."""
    checked = check(folder, all_mistakes())
    assert checked.returncode == 1
    return checked.stderr.splitlines()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_with_its_file_and_line_and_key_and_why(said: list[str], name: str) -> None:
    (tls, key, why), text = MISTAKES[name], all_mistakes()
    (line,) = [line for line in said if f" frontends.{name}." in line]
    found = re.search(r"/tcpbalance.toml:(\d+): (\S+): (.*)$", line)
    assert found is not None
    assert found[2] == f"frontends.{name}.tls.{key}"
    assert re.search(why, found[3], re.IGNORECASE)
    settings = text.index(f"[frontends.{name}.tls]\n{tls}\n") + len(f"[frontends.{name}.tls]\n{tls}")
    assert int(found[1]) == text.count("\n", 0, settings) + 1


def test_nothing_else_is_said(said: list[str]) -> None:
    assert len(said) == len(MISTAKES)


def test_what_is_right_is_not_refused(folder: Path) -> None:
    more = 'client_ca = "root.pem"\nclient_crl = "crl.pem"\nminimum_version = "1.2"'
    checked = check(folder, config({"web": f"{SOUND}\n{more}"}))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_tls_cannot_end_here_and_go_on_unopened_as_well(folder: Path) -> None:
    routes = '[[frontends.web.sni_routes]]\nnames = ["a.example"]\npool = "web"'
    checked = check(folder, config({"web": f"{SOUND}\n{routes}"}))
    assert checked.returncode == 1
    (line,) = checked.stderr.splitlines()
    assert re.search("toml:(6: frontends.web.tls: .*sni_routes|8: frontends.web.sni_routes: .*tls)", line)
    assert "unknown key" not in line


def test_nothing_is_listened_on(folder: Path) -> None:
    port = free_port()
    daemon = Daemon(config({"web": MISTAKES["key-of-another"][0]}, port), folder)
    with socket.create_server(("127.0.0.1", port)), daemon.launch() as process:
        # Were it to open the port before it has read everything, it would say that it is in use.
        assert process.wait(30) == 1, daemon.log
    (line,) = daemon.log.splitlines()
    assert line.startswith(f"{daemon.config_file}:7: frontends.web.tls.certificates[0].key: ")
