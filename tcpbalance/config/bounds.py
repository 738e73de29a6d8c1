"""Bounds of the configuration that the admin API states, too: the command line imports them and no models."""

MAX_DEBUG_NETWORKS = 64
"""Each connection is compared with all of them, in logarithmic time, and a person reads what is logged."""
