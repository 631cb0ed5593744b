"""How variants are made: a folder a model family, the parts that they share, and a registry."""
