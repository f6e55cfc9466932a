"""Who may call: names, keys, certificates, rights and rates.

    connection -> peer.py      client address, names of the certificate: once
    request    -> register.py  key or certificate -> Client -> may(method, path)
               -> rates.py     the client's own line, then the line of all calls (pacing.py)
               -> login.py     a login of the application's own: a constant answer
    record     -> roster.py    calls and refusals by client
    settings   -> roster.py    keeps all of these in step with what is in force

A client without a name is the holder of `listen.client_key`, or any where neither is set.
"""
