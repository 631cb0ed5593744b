"""The process that sends a campaign's requests, and the one that starts it."""
