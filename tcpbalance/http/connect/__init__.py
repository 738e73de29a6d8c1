"""CONNECT: which clients may have tunnels, where to, and how these are opened."""
