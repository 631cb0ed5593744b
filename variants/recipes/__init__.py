"""What to make, and from what: recipes, sources, wheels."""
