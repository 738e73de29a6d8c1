"""A TCP reverse proxy and load balancer on Twisted: as a daemon, in your own application, at the edge.

What is named here is the public face; everything else may move.
"""

from tcpbalance.admin.access_log import AccessLog, AccessLogError
from tcpbalance.config.addresses import Address
from tcpbalance.config.errors import ConfigError
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.config.models import Config
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.pools import HealthConfig
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig
from tcpbalance.endpoints import ProxyProtocolEndpoint
from tcpbalance.errors import Fault, SettingError, TcpbalanceError
from tcpbalance.gate.access import Access
from tcpbalance.gate.gate import Gate
from tcpbalance.gate.limits import Limits
from tcpbalance.gate.networks import NetworkSet
from tcpbalance.net.clock import make_monotonic
from tcpbalance.net.connecting import ConnectFailed
from tcpbalance.net.listener import ListenError
from tcpbalance.net.tls.client import ClientTls
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.parts import Frontend, read_config
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.backend import Backend, Orders
from tcpbalance.pool.outlier import OutlierRules
from tcpbalance.pool.policies.base import Policy, PolicyFactory, PolicyTools
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.probes import NoVerdict, Probe, ProbeFailed, StatusSet, Target
from tcpbalance.pool.probes.command import CommandProbe
from tcpbalance.pool.probes.expect import ExpectProbe
from tcpbalance.pool.probes.http import HttpProbe
from tcpbalance.pool.probes.tcp import TcpProbe
from tcpbalance.pool.probes.tls import TlsProbe
from tcpbalance.proxy.frontend import FrontendFactory, FrontendSettings
from tcpbalance.proxy.preread import Entrance
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.service import Balancer
from tcpbalance.wire.proxy_protocol import ProxyHeader
from tcpbalance.wire.server_names import NameMap

__all__ = [
    "Access",
    "AccessLog",
    "AccessLogError",
    "Address",
    "Affinity",
    "Backend",
    "Balancer",
    "CertificateConfig",
    "ClientTls",
    "CommandProbe",
    "Config",
    "ConfigError",
    "ConnectFailed",
    "EndReason",
    "Entrance",
    "ExpectProbe",
    "Fault",
    "Frontend",
    "FrontendFactory",
    "FrontendSettings",
    "FrontendTlsConfig",
    "Gate",
    "HealthConfig",
    "HttpProbe",
    "Limits",
    "ListenError",
    "NameMap",
    "NetworkSet",
    "NoVerdict",
    "Orders",
    "OutlierRules",
    "OverloadConfig",
    "Policy",
    "PolicyFactory",
    "PolicyTools",
    "Pool",
    "PoolTlsConfig",
    "Probe",
    "ProbeFailed",
    "ProxyHeader",
    "ProxyProtocolEndpoint",
    "ServerTls",
    "SessionRecord",
    "SettingError",
    "SocketConfig",
    "StatusSet",
    "Target",
    "TcpProbe",
    "TcpbalanceError",
    "TlsProbe",
    "make_monotonic",
    "read_config",
]
