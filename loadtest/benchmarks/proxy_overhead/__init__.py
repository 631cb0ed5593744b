"""How much of an engine's output our server lets through, beside the engine's own HTTP server."""
