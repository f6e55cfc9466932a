"""The way to the API and the way in.

Tunnels through proxies, TLS, addresses, and sockets that are handed over.
"""
