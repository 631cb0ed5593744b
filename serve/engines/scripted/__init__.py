"""Engines without weights, for tests."""
