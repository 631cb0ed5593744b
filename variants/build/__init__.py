"""Makes artifacts from recipes, and collects those that nobody needs."""
