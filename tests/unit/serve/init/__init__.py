"""`understudy init`."""
