"""The `server` part of a stack file."""
