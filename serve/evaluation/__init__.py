"""Starts an engine, asks it, and measures it."""
