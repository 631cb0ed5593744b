"""Builds artifacts from recipes, and removes those that are not needed any more."""
