"""What a campaign asks: its file, and the plan made of it."""
