"""How bytes move: listening, connecting, socket options and the coarse timer wheel."""
