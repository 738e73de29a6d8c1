"""tcpbalance against HAProxy, nginx and Envoy on loopback: `make bench`, or `python -m bench --help`."""
