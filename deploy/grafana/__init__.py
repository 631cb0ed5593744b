"""Grafana: dashboards in Python, their JSON in `dashboards/`, and the settings for Grafana to load both."""
