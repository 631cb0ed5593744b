"""Builds and judges variants: sources, recipes, artifacts, cards, evidence. Imports neither HTTP libraries nor Ray."""
