"""Which connection is to be explained, or which request on it: the parameters of the question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from attrs import field, frozen
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.messages import value_text
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.asked_request import AskedRequest, read_fields
from tcpbalance.control.parameters import check_parameters, read_parameter
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import ClientAddress, packed
from tcpbalance.wire.server_names import check_pattern

AT_UNIX = "unix"
"""In the place of an address: the client is at a unix socket."""

HERE = "127.0.0.1"
"""The client of a request where none is said: one on this machine."""


@frozen(kw_only=True)
class ExplainQuery:
    """Which connection is meant.

    :param frontend: the name of the frontend that it comes to.
    :param client: the address that it comes from, or that a PROXY header names; `AT_UNIX` for none.
    :param server_name: what it asks for by TLS; None for nothing.
    :param request: what is asked on it; None where the question is not about a request.
    :param parameters: that say all this.
    """

    frontend: str
    client: str
    server_name: str | None
    request: AskedRequest | None = None
    parameters: Mapping[str, str] = field(factory=dict)

    @property
    def packed(self) -> bytes | None:
        """The client's address, as lists and limits know it; None at a unix socket."""
        return packed(self.client)

    @property
    def address(self) -> ClientAddress:
        """The same as a session has it."""
        if self.client == AT_UNIX:
            return ClientAddress(UNIXAddress(None))
        kind = IPv6Address if ":" in self.client else IPv4Address
        return ClientAddress(kind("TCP", self.client, 0))


def read_explain_query(
    query: Mapping[str, str], frontends: Mapping[str, FrontendConfig] = {}
) -> ExplainQuery:
    """Read the parameters of a question.

    :param frontends: those that there are. A request needs no more to be said where it can be for one alone.
    :raises ApiError: one is not known, or is missing, or makes no sense.
    """
    check_parameters(query, ("frontend", "client", "server_name", "request", "headers"))
    no_fields: tuple[str, ...] = ()
    fields = read_parameter(query, "headers", read_fields, no_fields)
    request = read_parameter(query, "request", partial(AskedRequest.parse, fields=fields), None)
    if request is not None:
        query = _completed(query, request, frontends)
    for name in ("frontend", "client"):
        if name not in query:
            raise ApiError(400, "missing_parameter", f"which connection is meant: give {name}")
    if request is None and fields:
        raise ApiError(400, "missing_parameter", "headers have no effect without request")
    return ExplainQuery(
        frontend=query["frontend"],
        client=read_parameter(query, "client", _client, ""),
        server_name=read_parameter(query, "server_name", _server_name, None),
        request=request,
        parameters=query,
    )


def _completed(
    query: Mapping[str, str], request: AskedRequest, frontends: Mapping[str, FrontendConfig]
) -> Mapping[str, str]:
    """Say which frontend and client are meant, where a question about a request does not."""
    frontend = query["frontend"] if "frontend" in query else request.frontend(frontends)
    listen = frontends[frontend].listen if frontend in frontends else ()
    is_local = bool(listen) and all(address.is_unix for address in listen)
    return {"client": AT_UNIX if is_local else HERE, **query, "frontend": frontend}


def _client(text: str) -> str:
    if text != AT_UNIX and (packed(text) is None or "%" in text):
        raise SettingError(
            f'must be an IP address such as "203.0.113.7", or "{AT_UNIX}", got {value_text(text)}'
        )
    return text


def _server_name(text: str) -> str:
    name = check_pattern(text)
    if name.startswith("*"):
        raise SettingError(f"must be one host name, as a client asks for it, got {value_text(text)}")
    return name


def check_listeners(listen: Iterable[Address], query: ExplainQuery) -> None:
    """See whether such a client can come to a frontend at all.

    :param listen: where it listens.
    :raises ApiError: it cannot.
    """
    at_unix = query.client == AT_UNIX
    if any(address.is_unix is at_unix for address in listen):
        return
    why = (
        "has no unix socket: give the IP address of a client"
        if at_unix
        else f"has unix sockets alone, whose clients have no IP address: give client={AT_UNIX}"
    )
    raise ApiError(400, "no_such_listener", f"frontend {query.frontend} {why}")


def check_mode(frontend: FrontendConfig, query: ExplainQuery) -> None:
    """See whether a frontend reads requests, where the question is about one.

    :raises ApiError: it does not.
    """
    if query.request is not None and frontend.mode != "http":
        message = f'frontend {query.frontend} has mode = "{frontend.mode}", which reads no requests'
        raise ApiError(400, "not_http", message)
