"""HTTP/1.1 (RFC 9112) as bytes: heads, framing, the chunked coding, lists of fields. Pure."""
