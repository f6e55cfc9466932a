"""Where the access token comes from, and when the next one is fetched.

    endpoint   logs in with the credentials (password grant)
    answers    judges the answer: a `Grant`, refused credentials, or a passing fault
    diagnosis  has the words for it; `codes` the known error codes
    source     keeps the token, and decides with `timing` when the next one is fetched

A request takes the token from `source`, at once or after a bounded wait, and it is injected last of
all. A 401 brings it back to `source.invalidate`. Nothing in here knows the settings or listeners.
"""
