"""What workers get of the secret of cookies, and what anybody else sees of it."""

from __future__ import annotations

import os
from pathlib import Path

from support.configs import load_text
from tcpbalance.config.cookies import secret_of_process
from tcpbalance.config.difference import difference
from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.models import Config
from tcpbalance.config.plan import plan_lines
from tcpbalance.config.shown import shown_config
from tcpbalance.control.in_pieces import at_once
from tcpbalance.workers.config_memory import read_config, write_config

SECRET = "0123456789abcdef"

SITE = """\
[frontends.web]
listen = "127.0.0.1:0"
mode = "http"
pool = "web"

[pools.web]
backends = ["10.0.0.1:80"]

[pools.web.affinity]
by = "cookie"
"""


def secret_of(config: Config) -> str | None:
    affinity = config.pools["web"].affinity
    assert affinity is not None
    return None if affinity.cookie is None else affinity.cookie.secret


def of_worker(config: Config) -> Config:
    descriptor = write_config(config)
    try:
        return read_config(descriptor)
    finally:
        os.close(descriptor)


def test_all_workers_have_the_secret_of_the_supervisor(tmp_path: Path) -> None:
    config = load_text(tmp_path, SITE)
    assert (secret_of(config), secret_of(of_worker(config))) == (None, secret_of_process())
    again = load_text(tmp_path, SITE)
    assert not difference(of_worker(config), of_worker(again))


def test_a_secret_of_the_file_stays(tmp_path: Path) -> None:
    config = load_text(tmp_path, f'{SITE}cookie = {{ secret = "{SECRET}" }}\n')
    assert of_worker(config) == config


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    before = load_text(tmp_path, f'{SITE}cookie = {{ secret = "{SECRET}", name = "a" }}\n')
    after = load_text(tmp_path, f'{SITE}cookie = {{ secret = "{SECRET[::-1]}", name = "a" }}\n')
    without = load_text(tmp_path, SITE)
    shown = [
        str(at_once(shown_config(before))),
        *plan_lines(difference(before, after)),
        *plan_lines(difference(without, after)),
    ]
    assert all(SECRET not in text and SECRET[::-1] not in text for text in shown)
    assert shown[1] == f'~ pools.web.affinity.cookie.secret: "{HIDDEN}" -> "{HIDDEN}" (for new requests)'
