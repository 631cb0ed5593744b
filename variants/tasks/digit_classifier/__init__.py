"""A small network that reads drawn digits, to score image generators."""
