"""The way to the API and the way in: tunnels, TLS, addresses, handed-over sockets."""
