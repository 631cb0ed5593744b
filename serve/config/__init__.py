"""The stack file, and what follows from it: traffic, snapshot, lineage, keys."""
