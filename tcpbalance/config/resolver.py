"""What an operator can write about how host names are looked up."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from attrs import field, frozen

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import NameServer
from tcpbalance.config.metadata import doc
from tcpbalance.config.quantities import Duration, Hold
from tcpbalance.config.strict import strict

EngineName: TypeAlias = Literal["dns", "system"]


@frozen(kw_only=True, field_transformer=strict)
class ResolverConfig:
    """`[resolver]`: how the host names of backends are looked up; without this table as the defaults say."""

    servers: tuple[NameServer, ...] = field(
        default=(),
        converter=plain.name_servers,
        validator=checks.not_with("engine", "system"),
        metadata=doc(
            "The name servers to query, in this order. Absent: those of `/etc/resolv.conf` at the time "
            "of the lookup.",
            default="those of the system",
        ),
    )
    engine: EngineName = field(
        default="dns",
        metadata=doc(
            'How names are looked up. `"dns"`: the hosts file, then the name servers; answers are kept '
            'for their TTL. `"system"`: the system\'s own lookup, for names that only it knows (mDNS, '
            "LDAP, sssd). It returns no TTL, so answers are kept for 10 seconds."
        ),
    )
    timeout: Duration = field(
        default=Duration(1),
        converter=plain.duration,
        validator=[checks.between(Duration(0.01), Duration(60)), checks.not_with("engine", "system")],
        metadata=doc(
            "How long a name server may take before the next one is queried. Each server is queried twice."
        ),
    )
    min_ttl: Duration = field(
        default=Duration(1),
        converter=plain.duration,
        validator=checks.between(Duration(0.1), Duration(86400)),
        metadata=doc("Minimum time that an answer is kept. Entries of the hosts file have a TTL of 0."),
    )
    max_ttl: Duration = field(
        default=Duration(3600),
        converter=plain.duration,
        validator=checks.not_less_than("min_ttl"),
        metadata=doc("Maximum time that an answer is kept before the name is looked up again."),
    )
    hold: Hold = field(
        default=Hold(math.inf),
        converter=plain.hold,
        validator=checks.at_least(Hold(0)),
        metadata=doc(
            "How long the last good answer is used after its TTL while the name servers fail: they do "
            "not answer, or answer with an error."
        ),
    )
    hold_empty: Duration = field(
        default=Duration(30),
        converter=plain.duration,
        validator=checks.at_least(Duration(0)),
        metadata=doc(
            "How long the name servers must say that a name does not exist, or has no address, before "
            "its previous addresses are dropped."
        ),
    )
