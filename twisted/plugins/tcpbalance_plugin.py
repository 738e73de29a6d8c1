"""Tells twistd of the ``tcpbalance`` command.

Every twistd user on the machine imports this file, so it holds strings only: nothing of tcpbalance is loaded
until its command is chosen, and nothing that is wrong with tcpbalance can hurt another command.
"""

from twisted.application.service import ServiceMaker

tcpbalance = ServiceMaker(
    "tcpbalance",
    "tcpbalance.twistd_plugin",
    "A TCP reverse proxy and load balancer.",
    "tcpbalance",
)
