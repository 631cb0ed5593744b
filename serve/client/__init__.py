"""A client of a running server: its traffic, rollouts and other admin routes."""
