"""Which architectures each method builds, the engines serve, and answer as transformers does: docs/architectures.md."""
