"""What an operator runs: installation, stacks, Prometheus, Grafana, the demo."""
