"""The admin side: an HTTP API to look at a balancer and to steer it, and metrics."""
