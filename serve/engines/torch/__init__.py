"""Engines on torch and transformers: image classification."""
