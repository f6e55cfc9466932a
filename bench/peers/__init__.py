"""The configurations of all systems that are compared, and of the API that they call.

`bench/systems.py` fills in each `@NAME@`.

All of them do the same work: HTTP/1.1 in, one worker; two path prefixes pass and everything else
gets 403; a client's own Authorization is replaced by the credential, a request id is made or kept,
sent on and returned; HTTP/1.1 over TLS 1.3 out, the certificate checked against the benchmark's own
authority, at most 100 connections kept and used again; bodies streamed; one line of JSON for each
request to a file.
"""
