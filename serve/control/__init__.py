"""The control plane: changes of the stack, traffic, rollouts, and the journal."""
