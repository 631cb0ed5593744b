"""Who may use the server: keys, their limits, hosts, web pages."""
