"""What one request may cost: its body, its structure, its work."""
