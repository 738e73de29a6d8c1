"""What wrk prints is read, and what it says of errors is not overlooked."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.errors import Failed
from bench.wrk import Load, parse

GOOD = """\
Running 2s test @ http://127.0.0.1:20001/
  1 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   721.05us  301.59us   9.21ms   88.86%
    Req/Sec    52.31k     3.02k   56.53k    85.00%
  Latency Distribution
     50%  694.00us
     75%    0.85ms
     90%    1.02ms
     99%    1.66ms
  104117 requests in 2.00s, 15.99MB read
Requests/sec:  52051.22
Transfer/sec:      7.99MB
"""


def test_the_figures_of_a_good_run() -> None:
    found = parse(GOOD)
    assert found == Load(requests=104117, rate=52051.22, p50=found.p50, p99=1.66)
    assert found.p50 == pytest.approx(0.694)


@pytest.mark.parametrize(
    ("written", "milliseconds"), [("1.20s", 1200.0), ("12.00us", 0.012), ("1.50m", 90_000.0)]
)
def test_times_are_read_in_every_unit(written: str, milliseconds: float) -> None:
    assert parse(GOOD.replace("1.66ms", written)).p99 == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    "line", ["Socket errors: connect 0, read 12, write 0, timeout 0", "Non-2xx or 3xx responses: 7"]
)
def test_a_run_with_errors_has_failed_and_says_of_what(line: str) -> None:
    with pytest.raises(Failed, match=line):
        parse(GOOD.replace("Requests/sec", f"  {line}\nRequests/sec"))


@pytest.mark.parametrize("lost", ["104117 requests in", "Requests/sec:", "     99%", "     50%"])
def test_a_figure_that_is_missing_is_missed(lost: str) -> None:
    with pytest.raises(Failed, match="no figures"):
        parse(GOOD.replace(lost, ""))


def test_a_run_without_one_answer_has_failed() -> None:
    with pytest.raises(Failed, match="no figures"):
        parse(GOOD.replace("104117 requests", "0 requests"))
