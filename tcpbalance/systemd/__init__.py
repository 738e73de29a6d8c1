"""What the balancer reports to systemd, or to another service manager with the same protocol."""
