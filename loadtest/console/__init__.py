"""The server's console starts, follows and compares campaigns: the page `/pages/load`."""
