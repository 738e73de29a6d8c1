"""The kernel's table of descriptors is large before it has to grow, and has no more room than is needed."""

from __future__ import annotations

import resource
import sys

import pytest

from support.descriptors import room_in
from support.process import run
from tcpbalance.net.descriptors import MAX_PREPARED

PROGRAM = """
import os, resource, sys
from tcpbalance.net.descriptors import prepare_table
limit = int(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
before = os.listdir("/proc/self/fd")
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
prepare_table()
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
assert os.listdir("/proc/self/fd") == before
print(open("/proc/self/status").read())
"""


def room(limit: int) -> int:
    """How many descriptors a process with that limit has room for."""
    return room_in(run([sys.executable, "-c", PROGRAM, f"{limit}"]))


@pytest.mark.parametrize("limit", [256, 1024, 3000])
def test_there_is_room_for_as_many_as_may_be_opened(limit: int) -> None:
    assert limit <= room(limit) < 2 * limit + 256


def test_there_is_not_more_than_needed_at_once() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_PREPARED * 4 if hard == resource.RLIM_INFINITY else hard
    assert min(limit, MAX_PREPARED) <= room(limit) <= MAX_PREPARED


def test_where_no_descriptor_is_free_all_goes_on() -> None:
    assert room(3) <= 256


RAISE = """
import resource
from tcpbalance.net.descriptors import raise_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
for _ in range(2):
    raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""


def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    run([sys.executable, "-c", RAISE])
