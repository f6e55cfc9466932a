"""The sandbox: a stand-in for api.telenor.no, for people who test their own applications, for the demo and for our tests.

    command -> server -> gateway -> login, backend -> search, state
                      -> control -> state
    state   -> company, settings, faults -> answers -> values

Everything but `server`, `tls` and `command` is free of sockets and clocks. Nothing here imports another part of `proxy`, so that the
stand-in cannot share a mistake with what it is there to test. Nothing is imported here either: the command line starts fast.
"""
