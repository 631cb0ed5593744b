"""Recipes and sources: what to build, and from what."""
