"""Sends load campaigns to a server over HTTP, and reports the results."""
