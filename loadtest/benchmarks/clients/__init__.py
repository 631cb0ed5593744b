"""Clients of other makers, run as they are against the served stack: docs/clients.md."""
