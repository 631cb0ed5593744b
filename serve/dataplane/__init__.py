"""A request's path from the router to an engine and back."""
