"""Bounds of the configuration that the admin API states, too: the command line imports them and no models."""

MAX_DEBUG_NETWORKS = 64
"""Each connection is compared with all of them, in logarithmic time, and a person reads what is logged."""

MAX_NAME_LENGTH = 300
"""Characters of the name of a frontend, pool or backend, which each line of the log repeats: the longest
host name fits with a port, which a backend is called by default."""
