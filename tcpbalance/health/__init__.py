"""Active health checks: a monitor a pool, and the probes that it runs."""
