"""The operators' port: probes, metrics, status.

It shows what the proxy does and changes nothing.
"""
