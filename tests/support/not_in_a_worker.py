"""What a worker for plain TCP does not import: each has what it imports in memory."""

from __future__ import annotations

NOT_IN_A_WORKER = [
    # Configuration files are read by the supervisor.
    "cattrs",
    "tomllib",
    "tcpbalance.config.loader",
    "tcpbalance.config_reader",
    # It makes the checks and writes affinity down.
    "tcpbalance.health.monitor",
    "tcpbalance.health.probes",
    "tcpbalance.journal",
    "twisted.web",
    # It serves the admin side, without which nothing is asked of a worker, and has the workers.
    "tcpbalance.control.admin_http",
    "tcpbalance.control.api_request",
    "tcpbalance.control.explain",
    "tcpbalance.control.openapi",
    "tcpbalance.control.report",
    "tcpbalance.control.sessions",
    "tcpbalance.workers.answers",
    "tcpbalance.workers.questions",
    "tcpbalance.workers.nursery_process",
    "tcpbalance.workers.place",
    "tcpbalance.workers.supervisor",
    # Its process begins with these.
    "tcpbalance.cli",
    "tcpbalance.daemon",
    "argparse",
    # Only TLS needs certificates.
    "tcpbalance.net.tls.client",
    "tcpbalance.net.tls.server",
    "tcpbalance.net.tls.contexts",
    "tcpbalance.net.tls.files",
    # Only mode = "http" needs what serves requests.
    "tcpbalance.http.factory",
    "tcpbalance.http.routes",
    "tcpbalance.http.settings",
    "tcpbalance.http.session",
    "tcpbalance.wire.http.head",
    # These are for what few have: names of hosts, endpoints, third parties' policies.
    "pycares",
    "twisted.internet.endpoints",
    "importlib.metadata",
    # A few lines of these do not make up for their memory.
    "decimal",
    "difflib",
    "statistics",
]


def are_not_among(modules: list[str], names: list[str]) -> None:
    found = [module for module in modules for name in names if f"{module}.".startswith(f"{name}.")]
    assert found == []
