"""Tasks of EleutherAI's lm-evaluation-harness (`lm_eval`), which runs in a child process."""
