"""`make console-check`: the console in a real browser, measured page by page."""
