"""Scripts that measure this project, each with its own `make bench-...` target. Nothing outside imports them."""
