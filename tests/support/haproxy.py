"""HAProxy with a configuration of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.ports import accepts, free_port
from support.process import Process, folder_of
from support.programs import require
from support.waiting import until

_CONFIG = """
global
    maxconn 500

defaults
    timeout connect 5s
    timeout client 20s
    timeout server 20s

"""


@contextmanager
def haproxy(config: str) -> Iterator[int]:
    """Run it, listening on the port for which ``{port}`` stands in the configuration.

    :param config: frontends and backends.
    :returns: the port.
    """
    (program,) = require("haproxy")
    port = free_port()
    with folder_of() as folder:
        file = Path(folder) / "haproxy.cfg"
        file.write_text(_CONFIG + config.replace("{port}", f"{port}"))
        with Process([program, "-db", "-f", f"{file}"], folder, folder / "output.log") as process:

            def ready() -> bool:
                assert process.exit_code is None, f"haproxy ended\n{process.output}"
                return accepts(port)

            until(ready, lambda: f"haproxy\n{process.output}")
            yield port
