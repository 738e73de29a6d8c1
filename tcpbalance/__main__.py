"""``python -m tcpbalance``: the command ``tcpbalance``, where its script is not on the path."""

import sys

from tcpbalance.cli import main

if __name__ == "__main__":
    sys.exit(main())
