"""Grafana: dashboards made in Python, their JSON in `dashboards/`, and what Grafana needs to load both by itself."""
