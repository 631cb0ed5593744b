"""`understudy init`: a stack file and a campaign file for a model and data of the user's own."""
