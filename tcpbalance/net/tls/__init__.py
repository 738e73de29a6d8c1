"""TLS at both ends: what it is made of, and the transports that speak it."""
