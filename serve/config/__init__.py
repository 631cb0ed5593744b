"""The stack file and what derives from it: traffic, snapshot, lineage, keys."""
