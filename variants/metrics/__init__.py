"""A task's metrics and the scores of single answers."""
