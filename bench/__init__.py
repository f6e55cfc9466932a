"""What the proxy costs, measured and counted; see docs/performance.md."""
