"""The metrics of tasks and the scores of single answers."""
