"""A balancer as one service of an application: `twistd -ny edge.tac`.

The configuration is `edge.toml` beside this file. Add your own services to the same application.
"""

from pathlib import Path

from twisted.application.service import Application
from twisted.internet import reactor

from tcpbalance import Balancer

CONFIG = Path(__file__).with_name("edge.toml")

application = Application("edge")
Balancer.from_file(reactor, CONFIG).setServiceParent(application)
