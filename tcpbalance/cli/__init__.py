"""The command ``tcpbalance``: runs the balancer, looks at its configuration, and steers one that runs.

It imports next to nothing before the command is known: ``run`` holds signals back first, and what the
balancer is made of takes longer to import than Python takes to start.
"""

from tcpbalance.cli.entry import main

__all__ = ["main"]
