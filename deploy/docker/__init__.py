"""The images' entry."""
