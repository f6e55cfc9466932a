"""Orders are remembered, so that an application that tries again does not place one twice.

    key.py       the Idempotency-Key of a request, and the fingerprint of an order (pure)
    content.py   the content of an order, hashed and held until it is whole
    states.py    the life of one record, and what a repetition gets (pure)
    store.py     what a store has to do; memory.py, sqlite.py and shared.py do it
    desk.py      what the forwarder calls

Laws
1. An order is recorded before its first byte leaves. What cannot be recorded is not sent.
2. Its answer is recorded before the client gets it.
3. A record ends by its answer, by proof that nothing was sent, or by an operator; never by a guess.
4. The content of an order is not kept, only its SHA-256.
"""
