"""What readers of other proxies are shown as theirs: nginx and HAProxy accept each of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from support.certificates import Authority
from support.documented import TREE
from support.ports import free_port
from support.process import finish
from support.programs import require

PAGE = TREE / "docs" / "how-to" / "coming-from-other-proxies.md"

ROW = re.compile(r"^\| ([a-zA-Z'][^|]*) \| ([^|]*) \| ([^|]*) \|", re.MULTILINE)
SNIPPET = re.compile(r"`([^`]+)`(?: from ([0-9.]+))?")


def snippets(column: int) -> list[tuple[str, str]]:
    """Give what stands in a column of the table, and the version from which on it is known, where it says so.

    :param column: its number, behind the task's.
    """
    rows = ROW.findall(PAGE.read_text())[1:]
    return [found for row in rows for found in SNIPPET.findall(row[column])]


NGINX = """
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    {http}
    upstream app {{
        server 127.0.0.1:9 {parameter};
        {upstream}
    }}
    server {{
        listen 127.0.0.1:{port};
        {server}
        location / {{
            {location}
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 3s
    timeout client 3s
    timeout server 3s

frontend web
    bind 127.0.0.1:{port}
    {frontend}

backend app
    {backend}
    server a 127.0.0.1:9 {parameter}

backend api
    server a 127.0.0.1:9

backend canary
    server a 127.0.0.1:9
"""


def where(template: str) -> Mapping[str, str]:
    """Give the places of a configuration that are empty."""
    names = re.findall(r"(?<!\{)\{(\w+)\}(?!\})", template)
    return {name: "" for name in names if name not in {"folder", "port"}}


def accepted(template: str, command: Iterable[str], folder: Path, name: str, snippet: str) -> list[str]:
    """Give the places in which a program accepts a snippet."""
    places = []
    file = folder / name
    # Only some users may listen there.
    snippet = re.sub(r"\b(listen |bind :)(80|443)\b", lambda it: f"{it[1]}{free_port()}", snippet)
    for place in where(template):
        values = {**where(template), place: snippet}
        file.write_text(template.format(folder=folder, port=free_port(), **values))
        done = finish([*command, f"{file}"])
        if done.returncode == 0 and "[WARNING]" not in done.stderr:
            places.append(place)
    return places


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that are named."""
    issued = Authority.root().issue(tmp_path, "web", "www.example.com")
    whole = issued.certificate.read_bytes() + issued.key.read_bytes()
    issued.certificate.write_bytes(whole)
    (tmp_path / "down.http").write_text("HTTP/1.0 503 x\r\nContent-Length: 0\r\n\r\n")
    return tmp_path


@pytest.mark.requires("nginx")
@pytest.mark.parametrize(("snippet", "since"), snippets(1))
def test_nginx_accepts_what_stands_for_it(folder: Path, snippet: str, since: str) -> None:
    (program,) = require("nginx")
    command = [program, "-t", "-q", "-p", f"{folder}", "-e", f"{folder}/error.log", "-c"]
    found = finish([program, "-v"]).stderr.partition("nginx/")[2].split()[0]
    is_known = not since or numbers(found) >= numbers(since)
    assert bool(accepted(NGINX, command, folder, "nginx.conf", snippet)) is is_known


@pytest.mark.requires("haproxy")
@pytest.mark.parametrize(("snippet", "since"), snippets(2))
def test_haproxy_accepts_what_stands_for_it(
    folder: Path, snippet: str, since: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,) = require("haproxy")
    assert not since
    monkeypatch.chdir(folder)
    assert accepted(HAPROXY, [program, "-c", "-f"], folder, "haproxy.cfg", snippet)


def numbers(version: str) -> list[int]:
    """Give a version as it is compared."""
    return [int(part) for part in version.split(".")]


def test_there_is_something_to_be_checked() -> None:
    assert len(snippets(1)) > 20
    assert len(snippets(2)) > 20
