"""A TCP reverse proxy and load balancer on Twisted: as a daemon, in your own application, at the edge.

What is named here is the public face; everything else may move. It is imported when it is first asked for:
``twistd`` imports this package before signals can be held back, so the import must be short.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcpbalance.api import *

__all__ = [
    "Access",
    "AccessConfig",
    "AccessLog",
    "AccessLogError",
    "Address",
    "AdminState",
    "AdmissionControl",
    "AffinityConfig",
    "AnswerConfig",
    "Backend",
    "Balancer",
    "CertificateConfig",
    "ClientTls",
    "CommandProbe",
    "Config",
    "ConfigError",
    "ConnectConfig",
    "ConnectFailed",
    "CookieConfig",
    "Difference",
    "Effect",
    "EndReason",
    "ExpectProbe",
    "Fault",
    "ForwardedConfig",
    "Frontend",
    "FrontendFactory",
    "FrontendTlsConfig",
    "HealthConfig",
    "HttpConfig",
    "HttpParts",
    "HttpProbe",
    "HttpRouteConfig",
    "KeyChange",
    "LimitsConfig",
    "ListenError",
    "NameMap",
    "NetworkSet",
    "NoVerdict",
    "OutlierConfig",
    "OverloadConfig",
    "Policy",
    "PolicyFactory",
    "PolicyTools",
    "Pool",
    "PoolChange",
    "PoolHttpConfig",
    "PoolTlsConfig",
    "PreparedConfig",
    "PrereadSettings",
    "Probe",
    "ProbeFailed",
    "ProxyHeader",
    "ProxyProtocolEndpoint",
    "Reactor",
    "RebalanceConfig",
    "RedirectConfig",
    "RequestHeadersConfig",
    "RequestRecord",
    "ResolverConfig",
    "ResponseHeadersConfig",
    "RouteAccessConfig",
    "ServerTls",
    "SessionRecord",
    "SettingError",
    "SocketConfig",
    "SocketFile",
    "StatusSet",
    "Target",
    "TcpProbe",
    "TcpbalanceError",
    "TimeoutsConfig",
    "TlsProbe",
    "endpoint_for",
    "make_monotonic",
    "read_config",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Python's call for what is not here yet: PEP 562."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module("tcpbalance.api"), name)
        return value


def __dir__() -> list[str]:
    """Python's call for the names of what is here, and of what will be."""
    return sorted({*globals(), *__all__})
