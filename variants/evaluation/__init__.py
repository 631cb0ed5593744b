"""A task's metrics of an artifact, alone and beside its parent's."""
