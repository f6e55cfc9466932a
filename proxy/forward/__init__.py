"""One request in, one answer out.

    bytes -> listener -> guard (may it pass?) -> forwarder (token, retries) -> attempt (out and back) -> upstream -> bytes
                           wire (the grammar)     rewrite (fields, injection)   body, stream (bytes)

Nothing here knows where a token comes from.
"""
