"""Reads what stands behind ``tcpbalance-proxy:`` in the description of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.interfaces import IReactorTime

from tcpbalance.endpoints import HEADER_TIMEOUT, ProxyProtocolEndpoint
from tcpbalance.errors import SettingError


def parse(
    reactor: IReactorTime, arguments: Sequence[str], options: Mapping[str, str]
) -> ProxyProtocolEndpoint:
    """Make the endpoint of a description such as ``tcpbalance-proxy:tcp:8080:interface=127.0.0.1``.

    ``trusted`` (networks with commas between them) and ``timeout`` are for the ``ProxyProtocolEndpoint``; the
    rest describes the endpoint inside it. Where that has options of these names, too, it is written as one
    argument: ``quoteStringArgument`` of its own description.

    :param arguments: those without a name, as ``serverFromString`` has found them.
    :param options: those with a name.
    :raises SettingError: no endpoint is described, or an option of ours makes no sense.
    :raises ValueError: Twisted knows no endpoint like the one inside.
    """
    inner = _description(arguments, {k: v for k, v in options.items() if k not in ("trusted", "timeout")})
    if not inner:
        raise SettingError("an endpoint must follow, such as tcpbalance-proxy:tcp:8080")
    trusted = options.get("trusted")
    timeout = options.get("timeout")
    return ProxyProtocolEndpoint(
        serverFromString(reactor, inner),  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        reactor=reactor,
        trusted=None if trusted is None else [network.strip() for network in trusted.split(",")],
        timeout=HEADER_TIMEOUT if timeout is None else _seconds(timeout),
    )


def _description(arguments: Sequence[str], options: Mapping[str, str]) -> str:
    """Put the inner description together again."""
    parts = [*arguments, *(f"{name}={value}" for name, value in options.items())]
    quoted = [*map(_quoted, arguments), *(f"{_quoted(k)}={_quoted(v)}" for k, v in options.items())]
    if parts and ":" in parts[0].partition("=")[0]:
        # It came as one argument, which is the description itself once its quoting is undone.
        quoted[0] = parts[0]
    return ":".join(quoted)


def _quoted(text: str) -> str:
    quoted: str = quoteStringArgument(text)  # type: ignore[no-untyped-call]  # Twisted's is not annotated
    return quoted


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"PROXY endpoint: timeout must be a number of seconds, got {text}") from None
