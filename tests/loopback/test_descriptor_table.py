"""The kernel's table of descriptors is large before it has to grow, and has no more room than is needed."""

from __future__ import annotations

import resource
import sys

import pytest

from support.process import run
from tcpbalance.net.descriptor_table import MOST

PROGRAM = """
import os, re, resource, sys
from tcpbalance.net.descriptor_table import make_room
limit = int(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
before = os.listdir("/proc/self/fd")
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
make_room()
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
assert os.listdir("/proc/self/fd") == before
print(re.search(r"^FDSize:\\s*(\\d+)$", open("/proc/self/status").read(), re.M)[1])
"""


def room(limit: int) -> int:
    """How many descriptors a process with that limit has room for."""
    return int(run([sys.executable, "-c", PROGRAM, f"{limit}"]).strip())


@pytest.mark.parametrize("limit", [256, 1024, 3000])
def test_there_is_room_for_as_many_as_may_be_opened(limit: int) -> None:
    assert limit <= room(limit) < 2 * limit + 256


def test_there_is_not_more_than_needed_at_once() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MOST * 4 if hard == resource.RLIM_INFINITY else hard
    assert min(limit, MOST) <= room(limit) <= MOST


def test_where_no_descriptor_is_free_all_goes_on() -> None:
    assert room(3) <= 256
