"""The control plane: which variants run, who gets which traffic, and the journal."""
