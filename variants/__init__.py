"""Making and judging variants: sources, recipes, artifacts, cards, evidence. Knows nothing of HTTP or Ray."""
