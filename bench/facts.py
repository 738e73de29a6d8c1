"""What a run ran on, without what would tell one machine from another like it."""

from __future__ import annotations

import os
import platform
import sysconfig
import timeit

from bench import programs

CALLS = 20_000


def machine() -> dict[str, str]:
    """Give the facts of the machine."""
    # Without what a distributor or a hoster has put behind the version.
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": kernel,
        "a system call from Python": f"{system_call() * 1e9:.0f} ns",
    }


def system_call() -> float:
    """Give the seconds that the shortest system call takes, of several rounds the least.

    Where the kernel takes long for a call, all proxies come nearer to each other.
    """
    return min(timeit.repeat(os.getppid, number=CALLS, repeat=9)) / CALLS


def tools() -> dict[str, str]:
    """Give the versions of what all contestants are measured with.

    :raises Failed: when wrk or nginx, without which nothing can be measured, is missing.
    """
    return {
        "Python": f"{platform.python_version()} ({build()})",
        "backends: nginx": programs.version([programs.path_of("nginx"), "-v"]),
        "wrk": programs.version([programs.path_of("wrk"), "-v"]),
    }


def build() -> str:
    """Tell whether the interpreter was built with profile-guided optimisation, as far as it can be known."""
    options, flag = (sysconfig.get_config_var(name) for name in ("CONFIG_ARGS", "PGO_PROF_USE_FLAG"))
    # Debian takes the flag out of the file once it has built with it, and has not asked `configure` for it.
    optimised = "--enable-optimizations" in (options or "") or flag == ""
    return f"built {'with' if optimised else 'without'} profile-guided optimisation"
