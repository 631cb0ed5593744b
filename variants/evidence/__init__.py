"""Evidence: what outcomes say, and how surely. Pure functions, no I/O, no numerical library."""
