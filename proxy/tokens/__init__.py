"""Where the access token comes from, and when the next one is fetched.

The way of a token:

1. `endpoint` logs in with the credentials (password grant) and hands the answer to `answers`.
2. `answers` judges it: a `Grant`, refused credentials, or a passing fault, with `diagnosis` for the
   words.
3. `source` makes an `AccessToken` of the grant and decides, with `policy`, when the next one is
   fetched.
4. A request takes it from `source`, at once or after a bounded wait, and it is injected last of
   all.
5. A 401 brings it back to `source.invalidate`; if it is still the one in force, a new one is
   fetched for all.

Nothing in here knows the settings, the listener or the admin listener.
"""
