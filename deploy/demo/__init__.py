"""The demo: build, serve, load and report, then a shadow's verdict."""
