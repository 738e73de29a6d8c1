"""Why sessions and HTTP requests end: the one list that logs, counters and the documentation share."""

from __future__ import annotations

import enum

_FIN, _RST = True, False


class EndReason(enum.Enum):
    """Why a session or a request ended, which party ended it, and what that means.

    The balancer passes an end of stream (FIN) on and does not invent one: where it ends a session that
    neither side has finished, both see a reset (RST), so that no peer takes a broken transfer for a complete
    one. Only a client that has not been given a single byte is closed in order, and a session in which
    nothing is under way that is moved to another backend. A request is different: while nothing of a response
    was passed on, the balancer answers it, and the client's connection may go on.

    :ivar word: the name in logs and counters.
    :ivar closer: ``client``, ``backend`` or ``balancer``.
    :ivar orderly: whether what is left is closed with FIN, after the last byte, or with RST at once.
    :ivar meaning: one sentence for people.
    """

    CLIENT_CLOSED = (
        "client_closed",
        "client",
        _FIN,
        "both sides finished sending, the client first; or the client closed during the preread",
    )
    BACKEND_CLOSED = "backend_closed", "backend", _FIN, "both sides finished sending, the backend first"
    CLIENT_RESET = "client_reset", "client", _RST, "the connection to the client was reset"
    BACKEND_RESET = "backend_reset", "backend", _RST, "the connection to the backend was reset"
    PREREAD_TIMEOUT = (
        "preread_timeout",
        "balancer",
        _FIN,
        "the PROXY header, ClientHello or TLS handshake was not complete within preread_timeout",
    )
    BAD_PROXY_HEADER = (
        "bad_proxy_header",
        "balancer",
        _RST,
        "a peer listed in accept_proxy_protocol did not send a valid PROXY header first",
    )
    REFUSED = (
        "refused",
        "balancer",
        _RST,
        "the access lists or limits refused the client named in a PROXY header, or it was banned meanwhile",
    )
    HANDSHAKE_FAILED = (
        "handshake_failed",
        "client",
        _RST,
        "the TLS handshake with the client failed, or the client's certificate was refused",
    )
    NO_ROUTE = (
        "no_route",
        "balancer",
        _FIN,
        "no route matches the client's server name, or the request, and the frontend has no default pool",
    )
    REQUEST_REFUSED = (
        "request_refused",
        "balancer",
        _FIN,
        "the access list of the request's route refused its client",
    )
    RATE_LIMITED = (
        "rate_limited",
        "balancer",
        _FIN,
        "the client sent requests faster than requests_per_client and request_burst_per_client allow",
    )
    MAX_REQUESTS = (
        "max_requests",
        "balancer",
        _FIN,
        "as many requests of the frontend were under way as max_requests allows",
    )
    NO_BACKEND = "no_backend", "balancer", _FIN, "no backend of the pool was available"
    QUEUE_FULL = (
        "queue_full",
        "balancer",
        _FIN,
        "each available backend was at max_connections, and the queue was full",
    )
    QUEUE_TIMEOUT = (
        "queue_timeout",
        "balancer",
        _FIN,
        "each available backend stayed at max_connections for queue_timeout",
    )
    CONNECT_FAILED = "connect_failed", "balancer", _FIN, "no backend that was tried accepted the connection"
    DIAL_TIMEOUT = (
        "dial_timeout",
        "balancer",
        _FIN,
        "no backend accepted within dial_timeout, which covers all attempts and pauses",
    )
    LOCAL_FAILURE = (
        "local_failure",
        "balancer",
        _FIN,
        "the balancer lacked names, local ports, memory or another resource, or a setting was wrong",
    )
    OUT_OF_DESCRIPTORS = (
        "out_of_descriptors",
        "balancer",
        _FIN,
        "no descriptor was left for the connection to a backend",
    )
    IDLE_TIMEOUT = "idle_timeout", "balancer", _RST, "no byte moved in either direction for idle_timeout"
    HALF_CLOSE_TIMEOUT = (
        "half_close_timeout",
        "balancer",
        _RST,
        "one side had finished sending and no byte moved in the other direction for half_close_timeout",
    )
    TOO_SLOW = "too_slow", "balancer", _RST, "fewer bytes than min_rate allows moved in a minute"
    MAX_CONNECTION_AGE = "max_connection_age", "balancer", _RST, "the connection reached max_connection_age"
    BACKEND_DOWN = (
        "backend_down",
        "balancer",
        _RST,
        'the backend went down, in a pool with on_down = "reset"',
    )
    DRAINED = (
        "drained",
        "balancer",
        _RST,
        "the backend got no new clients any more, or the frontend was removed, and drain_timeout had passed",
    )
    REBALANCED = (
        "rebalanced",
        "balancer",
        _FIN,
        "the backend had more than its share of the connections, and this one was idle; see rebalance",
    )
    OVERLOAD = (
        "overload",
        "balancer",
        _RST,
        "the process reached a bound of [overload], and this session buffered more than others",
    )
    ENDED_BY_OPERATOR = (
        "ended_by_operator",
        "balancer",
        _RST,
        "an operator ended this session through the admin API",
    )
    ANSWERED = "answered", "backend", _FIN, "the backend's response was passed on whole"
    ANSWERED_HERE = (
        "answered_here",
        "balancer",
        _FIN,
        "the balancer answered the request itself, as its route says: by a redirect or a fixed answer",
    )
    BAD_REQUEST = (
        "bad_request",
        "balancer",
        _FIN,
        "the request was not valid HTTP, larger than allowed, or of a kind that the balancer does not serve",
    )
    HEAD_TIMEOUT = (
        "head_timeout",
        "balancer",
        _FIN,
        "the head of the request was not complete within head_timeout",
    )
    BODY_TIMEOUT = (
        "body_timeout",
        "balancer",
        _FIN,
        "no byte of the request's body came for body_timeout, or fewer than body_min_rate allows",
    )
    KEEPALIVE_TIMEOUT = (
        "keepalive_timeout",
        "balancer",
        _FIN,
        "no further request came on the client's connection for keepalive_timeout",
    )
    BAD_RESPONSE = (
        "bad_response",
        "balancer",
        _FIN,
        "the backend's response was not valid HTTP, or its head was larger than response_head_size",
    )
    RESPONSE_TIMEOUT = (
        "response_timeout",
        "balancer",
        _FIN,
        "the head of the backend's response was not complete within response_timeout",
    )
    STALL_TIMEOUT = (
        "stall_timeout",
        "balancer",
        _RST,
        "no byte of the response's body moved for stall_timeout",
    )
    SEND_TIMEOUT = (
        "send_timeout",
        "balancer",
        _RST,
        "the client took no byte of the response for send_timeout, or fewer than send_min_rate allows",
    )
    TUNNEL_REFUSED = (
        "tunnel_refused",
        "balancer",
        _FIN,
        "the client, its password or the destination of its CONNECT request is not allowed by the frontend",
    )
    TUNNEL_FAILED = (
        "tunnel_failed",
        "balancer",
        _FIN,
        "the destination of a CONNECT request did not accept the connection, or its name has no address",
    )
    TUNNEL_TIMEOUT = (
        "tunnel_timeout",
        "balancer",
        _FIN,
        "the destination of a CONNECT request was not connected within connect_timeout",
    )
    SHUTDOWN = "shutdown", "balancer", _RST, "the session was still open at the end of shutdown_grace"
    INTERNAL_ERROR = (
        "internal_error",
        "balancer",
        _RST,
        "an exception in tcpbalance or in an extension; see the log",
    )

    # Each is one of a kind; Enum's own hash is that of its name, worked out in Python each time.
    __hash__ = object.__hash__

    def __init__(self, word: str, closer: str, orderly: bool, meaning: str) -> None:
        self.word = word
        self.closer = closer
        self.orderly = orderly
        self.meaning = meaning


ANSWERED = EndReason.ANSWERED
"""By this name, no function of an enumeration is asked for what nearly every request comes to."""
