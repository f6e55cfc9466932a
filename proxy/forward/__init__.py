"""One request in, one answer out.

    bytes -> listener -> client -> policy (may it pass?)
          -> forwarder (token, retries) -> attempt (out and back) -> pool -> bytes

Nothing here knows where a token comes from.
"""
