"""The data of tasks of one's own: its definition, and the readers of each format."""
