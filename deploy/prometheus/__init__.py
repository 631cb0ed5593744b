"""A local Prometheus and its rules."""
