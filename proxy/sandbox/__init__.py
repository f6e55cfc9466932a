"""The sandbox: a stand-in for api.telenor.no, for tests of applications, for the demo and for ours.

    command -> server -> gateway -> login, backend -> state
                      -> control -> state
    state   -> company, settings, faults -> published -> messages

Everything but `server` and `command` is free of sockets and clocks. Nothing here imports another
part of `proxy`, so that the stand-in cannot share a mistake with what it tests.
"""
