"""What the controller keeps and tells of rollouts: their history, their document, and messages about verdicts."""
