"""Measurements of this server beside its peers and beside the alternatives to its own design."""
