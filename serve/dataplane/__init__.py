"""Routes a request to an engine and relays the answer."""
