"""What an operator needs of each request: a line in the log, and its place in the drain at the end."""
