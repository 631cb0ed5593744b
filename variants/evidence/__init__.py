"""Statistics of outcomes: intervals, tests, and the verdict on a variant. Pure functions without I/O."""
