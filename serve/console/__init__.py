"""Web pages for operators at `/`: what is served, traffic, rollouts, and one prompt to all variants."""
