"""What is asked for on the command line is understood, or refused."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.options import read_options

OF_REQUESTS = (
    "http_requests",
    "http_browser",
    "http_download",
    "http_upload",
    "http_beside",
    "http_websocket",
)
OVER_TLS = ("handshakes_ecdsa", "handshakes_rsa", "tls_requests", "tls_download", "tls_idle")


def test_without_a_word_all_is_measured_for_all_in_five_turns() -> None:
    options = read_options([])
    assert options.turns == 5
    assert options.contestants == ("tcpbalance", "portable", "haproxy", "nginx", "envoy", "direct")
    plain = ("connections", "requests", "download", "downloads", "idle", "beside", "flood")
    of_admin = ("sessions", "flooded_lists", "scrapes", "counting", "slots")
    alone = ("workers", "replacements", "admission", "reloads", *of_admin)
    assert options.only == (*plain, *alone, *OVER_TLS, *OF_REQUESTS)


def test_contestants_keep_their_order_however_they_are_asked_for() -> None:
    assert read_options(["--contestants", "direct,haproxy"]).contestants == ("haproxy", "direct")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--only", "requests,speed"], "'speed' is none of connections, requests"),
        (["--contestants", "traefik"], "'traefik' is none of tcpbalance, portable"),
        (["--turns", "0"], "must be a number from 1, got '0'"),
        (["--seconds", "1.5"], "must be a number from 1, got '1.5'"),
    ],
)
def test_what_is_not_known_is_refused(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_options(arguments)
    assert why in capsys.readouterr().err
