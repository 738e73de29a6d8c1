"""Who serves: the backends of a pool, the policy that orders them, and what is known of each."""
