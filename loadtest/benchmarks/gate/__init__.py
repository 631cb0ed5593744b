"""How often the gate is wrong and how soon it is right, by simulation."""
