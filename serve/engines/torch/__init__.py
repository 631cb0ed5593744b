"""Engines on torch and transformers."""
