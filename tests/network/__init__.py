"""The way to the API and the way in: tunnels through proxies, TLS, addresses, and sockets that are handed over."""
