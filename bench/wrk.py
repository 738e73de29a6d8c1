"""wrk: HTTP requests from one thread over many connections, and what it says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import frozen

from bench import programs
from bench.errors import Failed
from bench.process import run

CONNECTIONS = 50

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_PERCENTILE = re.compile(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)$", re.MULTILINE)
_TOTAL = re.compile(r"^\s+(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_ERRORS = re.compile(r"^\s+(Socket errors: .*|Non-2xx or 3xx responses: \d+)$", re.MULTILINE)


@frozen
class Load:
    """What one run of wrk found.

    :param requests: how many were answered.
    :param rate: requests a second.
    :param p50: time from a request to its answer that half of them kept, in milliseconds.
    :param p99: the same for 99 of 100.
    """

    requests: int
    rate: float
    p50: float
    p99: float


BROWSER = (
    'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-User: ?1",
    "Sec-Fetch-Dest: document",
    "Referer: http://127.0.0.1/articles/2026/11/how-a-proxy-works?page=2",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes.2026-11-30",
    'If-None-Match: "0123456789abcdef"',
    "Cache-Control: max-age=0",
)
"""Fields as a browser sends them with a request for a page."""


def load(
    port: int,
    seconds: int,
    *,
    close: bool = False,
    fields: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Load:
    """Send as many requests as are answered for some seconds.

    :param close: whether each request gets a connection of its own.
    :param fields: of each request, besides Host.
    :param environment: with what wrk speaks TLS; None for plain HTTP.
    :raises Failed: when anything but good answers came.
    """
    header = [word for line in (*fields, *(["Connection: close"] if close else [])) for word in ("-H", line)]
    command = [
        programs.path_of("wrk"),
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "10s",
    ]
    scheme = "http" if environment is None else "https"
    return parse(run([*command, *header, f"{scheme}://127.0.0.1:{port}/"], seconds + 30.0, environment))


def parse(output: str) -> Load:
    """Read what wrk prints.

    :raises Failed: when it tells of errors, or lacks a figure.
    """
    errors = _ERRORS.search(output)
    if errors is not None:
        raise Failed(f"wrk: {errors[1]}")
    total, rate = _TOTAL.search(output), _RATE.search(output)
    percentiles = {
        int(part): float(value) * _UNITS[unit] for part, value, unit in _PERCENTILE.findall(output)
    }
    if total is None or rate is None or not {50, 99} <= set(percentiles) or int(total[1]) == 0:
        raise Failed("wrk: no figures")
    return Load(int(total[1]), float(rate[1]), percentiles[50], percentiles[99])
