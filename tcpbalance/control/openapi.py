"""The description of the API, as OpenAPI 3.1 has it; a test holds it against the routes and their answers.

The command line holds answers against it, and imports no more than it needs: Twisted is not among that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tcpbalance.config.bounds import MAX_DEBUG_NETWORKS
from tcpbalance.control.openapi_schemas import (
    AMOUNT,
    BANNED_BY,
    COUNT,
    COUNTERS,
    JSON,
    LASTS,
    LENGTH_OF_TIME,
    LOG,
    LOG_LEVEL,
    NUMBER,
    SCHEMAS,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TRUTH,
    Schema,
    array,
    body,
    ref,
    table,
)


def description(version: str) -> dict[str, Any]:
    """Give the whole description.

    :param version: of the program.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tcpbalance admin API",
            "version": version,
            "description": "Looks at a balancer, and steers it. Counters are the sums over all workers.",
        },
        "paths": DESCRIBED_PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # A token is needed where `token_file` of [admin] is set.
        "security": [{}, {"token": []}],
    }


_NOTHING: Schema = {
    "description": "Nothing is read from it; it is there for the content type that each change needs."
}

_ERROR = {"description": "It is refused, with the reason.", "content": {JSON: {"schema": ref("Error")}}}


def _operation(
    summary: str,
    answer: Schema | None = None,
    *,
    status: int = 200,
    query: Mapping[str, Schema] = {},
    needed: Collection[str] = (),
    takes: Schema | None = None,
    answers: Mapping[str, Schema] = {},
) -> dict[str, Any]:
    """Describe an operation.

    :param answer: in JSON; None where there is none.
    :param query: its parameters.
    :param needed: those of them that must be there.
    :param takes: the body that it needs; None for none.
    :param answers: in other content types.
    """
    kinds = answers if answer is None else {JSON: answer, **answers}
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    described: dict[str, Any] = {
        "summary": summary,
        "responses": {str(status): {"description": "It is done.", "content": content}, "default": _ERROR},
    }
    if query:
        described["parameters"] = [
            {"name": k, "in": "query", "schema": v, **({"required": True} if k in needed else {})}
            for k, v in query.items()
        ]
    if takes is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": takes}}}
    return described


def _path(*names: str, **operations: dict[str, Any]) -> dict[str, Any]:
    """Describe the operations of a path.

    :param names: that stand in it.
    """
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
    return {**({"parameters": parameters} if names else {}), **operations}


_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}

_SESSIONS_QUERY: Mapping[str, Schema] = {
    "client": {**TEXT, "description": "A network that the client is in."},
    "frontend": TEXT,
    "pool": TEXT,
    "backend": TEXT,
    "min_age": LENGTH_OF_TIME,
    "min_idle": LENGTH_OF_TIME,
    "min_bytes": AMOUNT,
    "limit": {**_LIMIT, "maximum": 5000},
    "after": {
        **TEXT,
        "pattern": r"^[0-9a-f]{1,4}\.[0-9a-f]{1,16}\.[0-9a-f]{1,12}$",
        "description": "The `next` of the page before.",
    },
}

_AFTER_CLIENT: Schema = {
    **TEXT,
    "pattern": r"^([0-9a-f]{8}|[0-9a-f]{32}):",
    "description": "The `next` of the page before.",
}

_AFFINITY_QUERY: Mapping[str, Schema] = {"pool": TEXT, "client": TEXT, "backend": TEXT}

_RELOADED = {"summary": TEXT, "plan": ref("Plan")}

_VIEW_QUERY: Mapping[str, Schema] = {
    "counters": {
        "type": "boolean",
        "default": True,
        "description": "Whether there are counters in the answer, for which workers are asked.",
    }
}


def _shown(summary: str, answer: Schema) -> dict[str, Any]:
    """Describe an operation that shows a part of the state."""
    return _operation(summary, answer, query=_VIEW_QUERY)


DESCRIBED_PATHS: dict[str, Any] = {
    "/api/v1/status": _path(get=_operation("Show the program and its processes.", ref("Status"))),
    "/api/v1/view": _path(
        get=_operation(
            "Show the frontends, the pools and the processes at one moment.",
            table(
                clock={
                    "type": "number",
                    "description": "Seconds of a clock that is never set, for rates between two answers.",
                },
                frontends=array(ref("Frontend")),
                pools=array(ref("Pool")),
                processes=array(ref("Process")),
                workers=ref("Workers"),
                ended_processes={
                    **array(table(worker=COUNT, counters=COUNTERS)),
                    "description": "What processes of workers have counted of their own that have ended.",
                },
            ),
        )
    ),
    "/api/v1/frontends": _path(get=_shown("List the frontends.", table(frontends=array(ref("Frontend"))))),
    "/api/v1/frontends/{frontend}": _path("frontend", get=_shown("Show a frontend.", ref("Frontend"))),
    "/api/v1/pools": _path(get=_shown("List the pools.", table(pools=array(ref("Pool"))))),
    "/api/v1/pools/{pool}": _path("pool", get=_shown("Show a pool.", ref("Pool"))),
    "/api/v1/pools/{pool}/backends": _path(
        "pool",
        post=_operation(
            "Add a backend, until the next reload.",
            ref("ChangedBackend"),
            status=201,
            takes=ref("NewBackend"),
        ),
    ),
    "/api/v1/pools/{pool}/backends/{backend}": _path(
        "pool",
        "backend",
        get=_shown("Show a backend.", ref("Backend")),
        patch=_operation(
            "Change a backend: all that is asked for, or nothing.",
            ref("ChangedBackend"),
            takes=ref("BackendChange"),
        ),
        delete=_operation("Remove a backend, until the next reload.", table(lasts=LASTS), takes=_NOTHING),
    ),
    "/api/v1/pools/{pool}/backends/{backend}/health": _path(
        "pool",
        "backend",
        get=_operation(
            "Show the last health checks of a backend, the latest first.",
            table(pool=TEXT, backend=TEXT, checks=array(ref("Check"))),
        ),
    ),
    "/api/v1/sessions": _path(
        get=_operation(
            "List open sessions, the oldest first.",
            table(sessions=array(ref("Session")), next=TEXT_OR_NULL),
            query=_SESSIONS_QUERY,
        )
    ),
    "/api/v1/sessions/{session}": _path(
        "session",
        get=_operation("Show an open session.", ref("Session")),
        delete=_operation("End a session; the answer is what it was before.", ref("Session"), takes=_NOTHING),
    ),
    "/api/v1/bans": _path(
        get=_operation(
            "List the clients and networks that are banned.",
            table(bans=array(ref("Ban")), total=COUNT),
            query={"frontend": TEXT, "client": TEXT, "by": BANNED_BY, "limit": _LIMIT},
        ),
        post=_operation(
            "Ban a client or a network.",
            table(
                frontend=TEXT_OR_NULL,
                client=TEXT,
                until={**TIME, "description": "The first of the ends that count."},
                seconds=NUMBER,
                frontends=array(TEXT),
                bans=array(ref("Ban")),
            ),
            takes=ref("NewBan"),
        ),
    ),
    "/api/v1/bans/{client}": _path(
        "client",
        delete=_operation(
            "Lift the bans of a client, or of a network.",
            table(client=TEXT, frontends=array(TEXT)),
            query={"frontend": TEXT, "by": BANNED_BY},
            takes=_NOTHING,
        ),
    ),
    "/api/v1/affinity": _path(
        get=_operation(
            "List the clients that are remembered.",
            table(affinity=array(ref("RememberedClient")), next=TEXT_OR_NULL),
            query={**_AFFINITY_QUERY, "limit": _LIMIT, "after": _AFTER_CLIENT},
        ),
        delete=_operation(
            "Forget clients; one parameter at least is needed.",
            table(
                forgotten=COUNT,
                unanswered={
                    **array(COUNT),
                    "description": "Workers that have not answered; they forget as soon as they go on.",
                },
            ),
            query=_AFFINITY_QUERY,
            takes=_NOTHING,
        ),
    ),
    "/api/v1/explain": _path(
        get=_operation(
            "Explain what would become of the next connection of a client, or of a request on it; nothing "
            "changes by that.",
            ref("Explanation"),
            query={
                "frontend": TEXT,
                "client": {**TEXT, "description": 'An IP address, or "unix". A request needs none.'},
                "server_name": {**TEXT, "description": "What the client asks for by TLS."},
                "request": {
                    **TEXT,
                    "description": 'Such as "GET https://www.example.com/api". It needs a frontend where it '
                    "may come to several.",
                },
                "headers": {**TEXT, "description": "Further lines of its head."},
            },
        )
    ),
    "/api/v1/debug_clients": _path(
        get=_operation(
            "List the networks of clients whose connections are logged step by step.",
            table(debug_clients=array(TEXT)),
        ),
        put=_operation(
            "Set these networks, until the next reload.",
            table(debug_clients=array(TEXT), lasts=LASTS),
            takes=body(debug_clients={**array(TEXT), "maxItems": MAX_DEBUG_NETWORKS}),
        ),
    ),
    "/api/v1/config": _path(
        get=_operation(
            "Show the configuration as it runs, without what may be secret.",
            {"type": "object", "additionalProperties": True},
        )
    ),
    "/api/v1/log": _path(
        get=_operation("Show how the balancer logs about itself.", table(**LOG)),
        patch=_operation(
            "Set the level of the log, until the next reload.",
            table(**LOG, lasts=LASTS),
            takes=body(level=LOG_LEVEL),
        ),
    ),
    "/api/v1/reload": _path(
        post=_operation(
            "Read the configuration file again, and wait until that is done.",
            table(**_RELOADED, config=ref("ConfigState")),
            takes=_NOTHING,
        )
    ),
    "/api/v1/plan": _path(get=_operation("Show what a reload would change.", table(**_RELOADED))),
    "/api/v1/events": _path(
        get=_operation(
            "Show what has happened lately, or follow it as server-sent events.",
            table(events=array(ref("Event")), newest=COUNT, missed=TRUTH),
            query={"since": {**COUNT, "description": "The number of the last event that is known already."}},
            answers={"text/event-stream": TEXT},
        )
    ),
    "/metrics": _path(
        get=_operation(
            "Show all counters for Prometheus.",
            answers={"text/plain": TEXT, "application/openmetrics-text": TEXT},
        )
    ),
    "/api/v1/openapi.json": _path(
        get=_operation("Give this description.", {"type": "object", "additionalProperties": True})
    ),
}
"""Operations as OpenAPI describes them, by path and method."""
