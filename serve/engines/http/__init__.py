"""The HTTP servers of our own engines, one file a kind of model."""
