"""Health probes: each finds out in its own way whether a backend can serve."""
