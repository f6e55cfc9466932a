"""Bytes on the network: the way to the API, the listening sockets, streams with deadlines, TLS.

The only room that knows aiofastnet, TLS contexts and how a connection is made.
"""
