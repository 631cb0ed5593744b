"""Methods for text encoders."""
