"""Compares the throughput of the server with that of an engine's own HTTP server."""
