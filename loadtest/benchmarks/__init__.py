"""Scripts that measure this project, one `make bench-...` each; nothing imports them."""
