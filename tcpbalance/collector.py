"""When the garbage collector of a process that serves runs."""

from __future__ import annotations

import gc

COLLECT_AFTER = (3_000, 0, 20)
"""When the garbage collector runs, as `gc.set_threshold` takes it. It examines the young objects when there
are so many more of them than at its last run, as two hundred sessions make, which stops all traffic for a
millisecond; every other time those that survived one run, too; and after so many of these runs the old ones,
if their number has grown by a quarter.
The incremental collector of CPython 3.14.0 to 3.14.4 takes the same first number, and examines with the young
objects a part of the old ones each time.
On the portable data path, Twisted's TLS leaves reference cycles behind; so a few thousand ended sessions are
kept in memory at most."""


def spare_the_collector() -> None:
    """Exempt from garbage collection what stays for good, and make collections rare.

    A session leaves no reference cycle behind on the native data path, so there is little to be found; but
    the objects of a thousand short sessions start full collections, which stop all traffic for milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
