"""telenor-proxy: a sidecar that adds an OAuth access token to calls of Telenor's order API."""

__version__ = "0.2.0"
