"""Engines on torch: image classification by transformers, pipelines of diffusers."""
