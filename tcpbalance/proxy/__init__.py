"""The life of one connection: frontend, session, dial, relay."""
