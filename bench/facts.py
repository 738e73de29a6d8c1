"""What a run ran on, without what would tell one machine from another like it."""

from __future__ import annotations

import os
import platform

from bench import programs


def machine() -> dict[str, str]:
    """Give the facts of the machine."""
    # Without what a distributor or a hoster has put behind the version.
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    return {"cores": str(len(os.sched_getaffinity(0))), "kernel": kernel}


def tools() -> dict[str, str]:
    """Give the versions of what all contestants are measured with.

    :raises Failed: when wrk or nginx, without which nothing can be measured, is missing.
    """
    return {
        "Python": platform.python_version(),
        "backends: nginx": programs.version([programs.path_of("nginx"), "-v"]),
        "wrk": programs.version([programs.path_of("wrk"), "-v"]),
    }
