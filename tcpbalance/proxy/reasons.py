"""Why sessions end: the one list that logs, counters and the documentation share."""

from __future__ import annotations

import enum

_FIN, _RST = True, False


class EndReason(enum.Enum):
    """Why a session ended, with who ended it and what that means.

    The balancer passes an end of stream (FIN) on and never invents one: where it ends a session that
    neither side has finished, both see a reset (RST), so that nobody takes a broken transfer for a complete
    one. Only a client that has not been given a single byte is closed in order.

    :ivar word: the name in logs and counters.
    :ivar closer: ``client``, ``backend`` or ``balancer``.
    :ivar orderly: whether what is left is closed with FIN, after the last byte, or with RST at once.
    :ivar meaning: one sentence for people.
    """

    CLIENT_CLOSED = (
        "client_closed",
        "client",
        _FIN,
        "both directions were finished, the client's first; or it left before all was there that comes first",
    )
    BACKEND_CLOSED = "backend_closed", "backend", _FIN, "both directions were finished, the backend's first"
    CLIENT_RESET = "client_reset", "client", _RST, "the client broke the connection off"
    BACKEND_RESET = "backend_reset", "backend", _RST, "the backend broke the connection off"
    PREREAD_TIMEOUT = (
        "preread_timeout",
        "balancer",
        _FIN,
        "what comes first (PROXY header, ClientHello, TLS handshake) did not come within preread_timeout",
    )
    BAD_PROXY_HEADER = (
        "bad_proxy_header",
        "balancer",
        _RST,
        "a peer listed in accept_proxy_protocol did not open with a sound PROXY header",
    )
    REFUSED = (
        "refused",
        "balancer",
        _RST,
        "the client for whom a proxy spoke was refused by the frontend's access list or limits",
    )
    HANDSHAKE_FAILED = (
        "handshake_failed",
        "client",
        _RST,
        "the client and the balancer could not agree on TLS, or its certificate was refused",
    )
    NO_ROUTE = (
        "no_route",
        "balancer",
        _FIN,
        "no route is for the server name that the client asks for, and the frontend has no pool for the rest",
    )
    NO_BACKEND = "no_backend", "balancer", _FIN, "no backend of the pool was available to be tried"
    QUEUE_FULL = (
        "queue_full",
        "balancer",
        _FIN,
        "each available backend was at max_connections, and so many waited that there was no place for it",
    )
    QUEUE_TIMEOUT = (
        "queue_timeout",
        "balancer",
        _FIN,
        "each available backend stayed at max_connections for queue_timeout",
    )
    CONNECT_FAILED = "connect_failed", "balancer", _FIN, "each backend that was tried failed to accept"
    DIAL_TIMEOUT = (
        "dial_timeout",
        "balancer",
        _FIN,
        "no backend had accepted within dial_timeout, all attempts and pauses together",
    )
    LOCAL_FAILURE = (
        "local_failure",
        "balancer",
        _FIN,
        "the balancer lacked what a connection needs, such as names, ports or memory, or a setting was wrong",
    )
    OUT_OF_DESCRIPTORS = (
        "out_of_descriptors",
        "balancer",
        _FIN,
        "no descriptor was left to reach a backend with",
    )
    IDLE_TIMEOUT = "idle_timeout", "balancer", _RST, "no byte went either way for idle_timeout"
    HALF_CLOSE_TIMEOUT = (
        "half_close_timeout",
        "balancer",
        _RST,
        "one side had finished and no byte came from the other for half_close_timeout",
    )
    TOO_SLOW = "too_slow", "balancer", _RST, "fewer bytes than min_rate moved in a minute"
    MAX_CONNECTION_AGE = "max_connection_age", "balancer", _RST, "the connection reached max_connection_age"
    BACKEND_DOWN = (
        "backend_down",
        "balancer",
        _RST,
        'its backend went down and the pool says on_down = "reset"',
    )
    OVERLOAD = (
        "overload",
        "balancer",
        _RST,
        "the process had reached a bound of [overload], and it was among those that buffered most",
    )
    SHUTDOWN = "shutdown", "balancer", _RST, "it was still open when shutdown_grace was over"
    INTERNAL_ERROR = (
        "internal_error",
        "balancer",
        _RST,
        "an exception in tcpbalance or an extension; see the log",
    )

    # Each is one of a kind; Enum's own hash is that of its name, worked out in Python each time.
    __hash__ = object.__hash__

    def __init__(self, word: str, closer: str, orderly: bool, meaning: str) -> None:
        self.word = word
        self.closer = closer
        self.orderly = orderly
        self.meaning = meaning
