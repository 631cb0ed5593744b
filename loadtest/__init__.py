"""Load campaigns against a server, over HTTP."""
