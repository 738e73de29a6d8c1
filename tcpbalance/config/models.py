"""What an operator can write, one frozen class for each table of the file; here the whole.

Each field says what it does, in Markdown, in its metadata: the configuration reference is made from these
classes. A field's validator looks at its own value; what has to hold between tables stands in
`tcpbalance.config.rules` and is checked when a `Config` is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from tcpbalance.config import checks, plain, rules
from tcpbalance.config.addresses import Network
from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.bounds import MAX_DEBUG_NETWORKS
from tcpbalance.config.errors import BrokenRules
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.log import AccessLogConfig, LogConfig
from tcpbalance.config.metadata import doc
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.paths import GroupName, UserName
from tcpbalance.config.pools import PoolConfig
from tcpbalance.config.quantities import Duration
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.config.strict import strict
from tcpbalance.config.workers import MIN_WORKER_TIMEOUT, Workers


@frozen(kw_only=True, field_transformer=strict)
class Config:
    """The whole file; these keys stand before the first table.

    :raises BrokenRules: when parts that are each valid contradict each other, such as a frontend and a pool
        that is not there.
    """

    data_path: Literal["auto", "portable"] = field(
        default="auto",
        metadata=doc(
            'How bytes are moved. `"auto"` is the native data path where the system has epoll (Linux), '
            "and Twisted's own transports elsewhere. `\"portable\"` is always Twisted's transports. "
            "The log names the data path when a frontend opens."
        ),
    )
    workers: Workers = field(
        default=Workers(1),
        converter=plain.workers,
        metadata=doc(
            'How many processes serve, 1 to 256. `"auto"` is one for each CPU that the program may use. With '
            "1, there is a single process. With more, a supervisor that carries no traffic has that many "
            "workers; limits, health and affinity hold for all of them together. Needs Linux on x86-64.",
            example='"auto"',
        ),
    )
    worker_timeout: Duration = field(
        default=Duration(10),
        converter=plain.duration,
        validator=checks.at_least(MIN_WORKER_TIMEOUT),
        metadata=doc("A worker that does nothing for so long is killed and replaced."),
    )
    cpu_affinity: bool = field(
        default=True,
        metadata=doc("Whether each worker runs on one CPU only, of those that the program may use, in turn."),
    )
    user: UserName | None = field(
        default=None,
        metadata=doc(
            "The user that the program runs as once it has its addresses and has read its files; needs root "
            "at the start. Absent: the user that has started it.",
        ),
    )
    group: GroupName | None = field(
        default=None,
        metadata=doc(
            "The group that the program runs as from then on. Absent: the group of `user`.",
        ),
    )
    shutdown_grace: Duration = field(
        default=Duration(30),
        converter=plain.duration,
        metadata=doc(
            "How long open sessions may continue after SIGTERM or SIGINT before the balancer ends them."
        ),
    )
    debug_clients: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        validator=checks.at_most_elements(MAX_DEBUG_NETWORKS),
        metadata=doc(
            "Networks of clients whose connections are logged step by step, with times and without their "
            f"bytes; at most {MAX_DEBUG_NETWORKS} networks.",
            default="none",
        ),
    )
    resolver: ResolverConfig = field(
        default=ResolverConfig(), metadata=doc("How host names are looked up.", default="as its keys say")
    )
    overload: OverloadConfig | None = field(
        default=None, metadata=doc("Bounds on the resources of the process. Absent: no bounds.")
    )
    log: LogConfig = field(
        default=LogConfig(),
        metadata=doc("What the balancer logs about itself, and how.", default="as its keys say"),
    )
    access_log: AccessLogConfig | None = field(
        default=None, metadata=doc("One line for each session or request.")
    )
    admin: AdminConfig | None = field(
        default=None, metadata=doc("Where the balancer can be looked at and steered. Absent: nowhere.")
    )
    frontends: Mapping[str, FrontendConfig] = field(
        factory=dict,
        metadata=doc("The frontends, by name: where clients connect. At least one.", default="required"),
    )
    pools: Mapping[str, PoolConfig] = field(
        factory=dict, metadata=doc("The pools of backends, by name.", default="required")
    )

    def __attrs_post_init__(self) -> None:
        mistakes = tuple(rules.broken(self.frontends, self.pools, self.workers, self.access_log, self.admin))
        if mistakes:
            raise BrokenRules(mistakes)
