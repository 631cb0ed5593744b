"""Serving variants: stack file, router, relay, engines, metrics, and the one command `understudy`."""
