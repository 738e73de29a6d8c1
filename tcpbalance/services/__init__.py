"""What a balancer consists of while it runs: a service a frontend and a service a pool."""
