"""What is kept of a request's body for a backend to come."""

from __future__ import annotations

import tracemalloc

from tcpbalance.http.bodies import LengthBody
from tcpbalance.http.upload import KEPT, Upload


def test_a_body_that_is_kept_takes_little_more_than_its_size_in_however_small_pieces() -> None:
    upload = Upload(LengthBody(2 * KEPT), awaits_continue=False, now=0.0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        number = 0
        while not upload.is_full:
            upload.feed(b"%08d" % number, limit=None, now=0.0)
            number += 1
        assert tracemalloc.get_traced_memory()[0] - before < 1.5 * KEPT
    finally:
        tracemalloc.stop()
    assert (upload.kept_size, bytes(upload.kept[:16])) == (KEPT, b"0000000000000001")
