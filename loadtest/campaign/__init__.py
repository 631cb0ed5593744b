"""The campaign file, and the plan made from it."""
