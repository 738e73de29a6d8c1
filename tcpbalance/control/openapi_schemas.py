"""What requests and answers of the API are made of, as JSON Schema (draft 2020-12), for its description."""

from __future__ import annotations

from typing import Any, TypeAlias

from tcpbalance.config.bounds import MAX_NAME_LENGTH

JSON = "application/json"
"""The type of what the admin API takes and gives."""

Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNTERS: Schema = {"type": "object", "additionalProperties": COUNT}
ADMIN_STATE: Schema = {"enum": ["ready", "drain", "maintenance"]}
WEIGHT: Schema = {"type": "integer", "minimum": 1, "maximum": 256}
LENGTH_OF_TIME: Schema = {
    "type": ["string", "number"],
    # None of these is longer than may be.
    "pattern": r"^([0-9]{1,8}(\.[0-9]{1,3})?m?s|[0-9]{1,6}(\.[0-9]{1,3})?m|[0-9]{1,4}(\.[0-9]{1,3})?h)$",
    "minimum": 0,
    "maximum": 10 * 366 * 86400,
    "description": 'Such as "250ms", "2s", "5m", "1h", or a number of seconds.',
}
AMOUNT: Schema = {
    "type": ["string", "integer"],
    "pattern": r"^[0-9]{1,9}(KiB|MiB|GiB)$",
    "minimum": 0,
    "maximum": 2**63 - 1,
    "description": "Such as 1MiB, or a number of bytes.",
}
LOG_LEVEL: Schema = {"enum": ["debug", "info", "warn", "error", "critical"]}
LOG: dict[str, Schema] = {"level": LOG_LEVEL, "format": {"enum": ["text", "json", "journal"]}}
BANNED_BY: Schema = {"enum": ["operator", "limits"]}
LASTS: Schema = {
    "enum": [
        "until the next restart",
        "until the next reload",
        "the state until the next restart, the weight until the next reload",
    ]
}


def table(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """Give an object with these keys.

    :param optional: those of them that it may lack.
    """
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def body(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """Give an object that is sent: it may have these keys, one of them at least, and no others."""
    return {**table(optional, **properties), "minProperties": 1, "additionalProperties": False}


def array(items: Schema) -> Schema:
    """Give an array of these."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """Give a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_BACKEND = {
    "name": TEXT,
    "address": TEXT,
    "state": {"enum": ["maintenance", "draining", "down", "ejected", "up", "removed"]},
    "admin_state": ADMIN_STATE,
    "state_order": {
        **_or_null(table(time=TIME, by=TEXT)),
        "description": "When and by which client of this API the state was set; null where the file has it.",
    },
    "up": TRUTH,
    "ejected": TRUTH,
    "cause": {**TEXT, "description": "Why it is down; empty while it is up."},
    "weight": WEIGHT,
    "max_connections": {"type": ["integer", "null"], "minimum": 1},
    "backup": TRUTH,
    "drain_deadline": {
        "type": ["number", "null"],
        "description": "Seconds until the sessions of a backend that drains or is in maintenance are ended; "
        "0 when they have been, null for no limit.",
    },
    "last_check": _or_null(ref("Check")),
}

_REMEMBERED = {
    "backend": TEXT,
    "connected": TRUTH,
    "seconds": {
        "type": ["number", "null"],
        "description": "Until it is forgotten; null while it is connected.",
    },
}

_COUNT_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}

_ALLOWANCE = _or_null(table(used=COUNT, limit=COUNT, left=COUNT))

_EXPLAINED_BACKEND = table(
    backend=TEXT,
    address=TEXT,
    why={
        "enum": [
            "sticky",
            "fallback",
            "policy",
            "above_share",
            "slow_start",
            "cooling_down",
            "left_out",
            "full",
            "maintenance",
            "draining",
            "down",
            "ejected",
        ]
    },
    meaning=TEXT,
    backup=TRUTH,
    weight=WEIGHT,
    connections=COUNT,
    max_connections=_COUNT_OR_NULL,
)

_REACHES = {"enum": ["connects", "queued", "queue_full", "no_backend"]}

_ANSWERED_HERE = (
    "bad_request",
    "request_refused",
    "rate_limited",
    "max_requests",
    "answered_here",
    "tunnels",
    "tunnel_refused",
)
"""Outcomes of requests that no backend gets."""

_EXPLAINED_REQUEST = table(
    status={**_COUNT_OR_NULL, "description": "Of the answer, where the request is answered here."},
    cause={**TEXT_OR_NULL, "description": "What is wrong with it, in a word."},
    meaning=TEXT_OR_NULL,
    location={**TEXT_OR_NULL, "description": "Where a redirect leads."},
    client={**TEXT_OR_NULL, "description": "The client as backends would know it."},
    limits=_or_null(
        table(
            refused=TEXT_OR_NULL,
            would_refuse=TEXT_OR_NULL,
            under_way=_ALLOWANCE,
            rate=_ALLOWANCE,
            next_in={
                **NUMBER,
                "description": "Seconds until the client's next request may come by the rate.",
            },
        )
    ),
    mirror={**TEXT_OR_NULL, "description": "The pool that gets a copy."},
    shares={
        "type": ["object", "null"],
        "additionalProperties": COUNT,
        "description": "The weights of the pools that share the clients of the route, by their names.",
    },
    sent={
        "type": ["array", "null"],
        "items": TEXT,
        "description": "The lines of the head that the first backend would get.",
    },
)

_EXPLANATION = {
    "frontend": TEXT,
    "client": TEXT,
    "server_name": TEXT_OR_NULL,
    "worker": {**_COUNT_OR_NULL, "description": "Null where it may be any."},
    "any_worker_accepts": {
        **TRUTH,
        "description": "Whether any worker accepts the connection, and hands it over to this one.",
    },
    "outcome": {"enum": ["waits", "refused", "no_route", "requests", *_ANSWERED_HERE, *_REACHES["enum"]]},
    "waits_for": {**array(TEXT), "description": "Why the client is not accepted at once."},
    "connections": {
        **table(open=_COUNT_OR_NULL, limit=_COUNT_OR_NULL),
        "description": "Those of all clients of the frontend; open is null where several workers "
        "serve it without limits.connections.",
    },
    "proxy_header": {
        **TRUTH,
        "description": "Whether a connection from this address must begin with a PROXY header.",
    },
    "admission": _or_null(
        table(
            refused=TEXT_OR_NULL,
            would_refuse=TEXT_OR_NULL,
            meaning=TEXT_OR_NULL,
            list={"enum": ["allow", "deny", "deny_file", None]},
            banned_for={**NUMBER, "description": "Seconds that are left of a ban."},
            connections=_ALLOWANCE,
            rate=_ALLOWANCE,
            next_in={**NUMBER, "description": "Seconds until the next connection may come by the rate."},
            refusals=_ALLOWANCE,
        )
    ),
    "route": TEXT_OR_NULL,
    "request": _or_null(_EXPLAINED_REQUEST),
    "pool": _or_null(
        table(
            name=TEXT,
            outcome=_REACHES,
            exact={**TRUTH, "description": "Whether the next connection is tried in this order."},
            by={**TEXT, "description": "What the order goes by."},
            attempts={**COUNT, "description": "How many connections are tried at most."},
            candidates=array(_EXPLAINED_BACKEND),
            skipped=array(_EXPLAINED_BACKEND),
        )
    ),
}

_SESSION = {
    "id": TEXT,
    "worker": COUNT,
    "frontend": TEXT,
    "client": TEXT,
    "proxy": TEXT_OR_NULL,
    "pool": TEXT_OR_NULL,
    "backend": TEXT_OR_NULL,
    "state": {"enum": ["preread", "queued", "dialling", "unanswered", "relaying", "ending"]},
    "start": TIME,
    "age": NUMBER,
    "idle": NUMBER,
    "client_bytes": COUNT,
    "backend_bytes": COUNT,
    "server_name": TEXT_OR_NULL,
    "tls_version": TEXT_OR_NULL,
    "tls_cipher": TEXT_OR_NULL,
    "tls_client": TEXT_OR_NULL,
}

_PARTS_OF_FILE = {
    "type": "object",
    "description": "Frontends, pools and backends by their path, as the file has them.",
    "additionalProperties": {
        "type": "object",
        "properties": {"listen": array(TEXT), "address": TEXT},
        "additionalProperties": True,
    },
}

SCHEMAS: dict[str, Schema] = {
    "Error": table(
        error=table(
            ("mistakes",),
            code={**TEXT, "description": "A word by which a program knows the reason."},
            message={**TEXT, "description": "What is wrong, and what to do."},
            mistakes=array(table(file=TEXT, line=COUNT, key=TEXT, message=TEXT)),
        )
    ),
    "Process": table(
        ("supervisor", "worker"),
        supervisor={"const": True, "description": "Only of the supervisor of several workers."},
        worker={**COUNT, "description": "Only of a worker: its number."},
        pid=COUNT,
        memory=COUNT,
        descriptors=COUNT,
        max_descriptors=COUNT,
        worst_loop_lag={**NUMBER, "description": "Seconds, within the last minute."},
        counters=COUNTERS,
    ),
    "Workers": table(
        serving={**COUNT, "description": "Those that accept clients; 1 where there is one process."},
        ended={
            **table(signal=COUNT, exit=COUNT, timeout=COUNT, error=COUNT),
            "description": "Those that have ended without being asked to, by what.",
        },
    ),
    "ConfigState": table(
        revision={**COUNT, "description": "Grows with each change of the configuration in use."},
        path=TEXT,
        loaded={**TIME, "description": "When the file was read as it is in use."},
        error=_or_null(table(time=TIME, message=TEXT)),
    ),
    "Status": table(
        version=TEXT,
        started={**NUMBER, "description": "Seconds since the epoch."},
        access={"enum": ["full", "read_only"], "description": "What the token of the request may do."},
        config=ref("ConfigState"),
        processes=array(ref("Process")),
        workers=ref("Workers"),
    ),
    "Frontend": table(
        ("counters",),
        name=TEXT,
        mode={"enum": ["tcp", "http"]},
        listen=array(TEXT),
        pools=array(TEXT),
        tls=TRUTH,
        counters=COUNTERS,
    ),
    "Check": table(time=TIME, passed={"type": ["boolean", "null"]}, cause=TEXT, seconds=NUMBER),
    "Backend": table(("counters",), **_BACKEND, counters=COUNTERS),
    "ChangedBackend": table(**_BACKEND, lasts=LASTS),
    "NewBackend": body(
        ("name", "weight", "max_connections", "backup", "server_name", "state"),
        address={**TEXT, "description": "Such as 10.0.0.11:80 or unix:/run/app.sock."},
        name={**TEXT, "maxLength": MAX_NAME_LENGTH},
        weight=WEIGHT,
        max_connections={"type": ["integer", "null"], "minimum": 1},
        backup=TRUTH,
        server_name=TEXT_OR_NULL,
        state=ADMIN_STATE,
    ),
    "BackendChange": {
        "anyOf": [
            body(("state", "weight"), state=ADMIN_STATE, weight=WEIGHT),
            body(
                ("weight",),
                state={"enum": ["drain", "maintenance"]},
                deadline={
                    **LENGTH_OF_TIME,
                    "type": ["string", "number", "null"],
                    "description": 'Such as "5m", or a number of seconds; null for no limit.',
                },
                weight=WEIGHT,
            ),
        ]
    },
    "Pool": table(
        ("counters",),
        name=TEXT,
        backends=array(ref("Backend")),
        affinity={
            "type": ["integer", "null"],
            "description": "Clients that affinity by address remembers; null where it is not in use.",
        },
        counters=COUNTERS,
    ),
    "Session": table(**_SESSION),
    "Explanation": table(**_EXPLANATION),
    "RememberedClient": table(pool=TEXT, client=TEXT, **_REMEMBERED, fallback=_or_null(table(**_REMEMBERED))),
    "Ban": table(frontend=TEXT, by=BANNED_BY, client=TEXT, until=TIME, seconds=NUMBER),
    "NewBan": {
        "type": "object",
        "required": ["client", "for"],
        "additionalProperties": False,
        "properties": {
            "frontend": {**TEXT_OR_NULL, "description": "Absent: all frontends."},
            "client": {**TEXT, "description": "An address, or a network such as 203.0.113.0/24."},
            "for": LENGTH_OF_TIME,
            "replace": {
                **TRUTH,
                "description": "Whether the end of an earlier ban by an operator does not count any more; "
                "else the later one does.",
            },
        },
    },
    "Event": {
        "type": "object",
        "description": "What there is beside these keys depends on the kind.",
        "required": ["number", "time", "kind"],
        "properties": {"number": COUNT, "time": TIME, "kind": TEXT},
        "additionalProperties": True,
    },
    "Plan": table(
        added=_PARTS_OF_FILE,
        removed=_PARTS_OF_FILE,
        changed=array(table(key=TEXT, old={}, new={}, effect=TEXT)),
        draining=array(TEXT),
        listeners_opened=array(TEXT),
        listeners_closed=array(TEXT),
        needs_restart=array(TEXT),
        run_time={
            **array(
                table(
                    key=TEXT,
                    value=ADMIN_STATE,
                    file=ADMIN_STATE,
                    after_reload=ADMIN_STATE,
                    time=_or_null(TIME),
                    by=TEXT_OR_NULL,
                )
            ),
            "description": "States of backends that were set at run time, and what they are after a reload.",
        },
    ),
}
"""By their names."""
