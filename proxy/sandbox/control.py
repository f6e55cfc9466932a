"""The control API under `/_sandbox/`, a prefix that Telenor's API does not have.

It asks for no password, so a web page in a browser on the same host must not drive it: calls that
carry `Origin` or come from another site are refused, and so is a `Host` that is no loopback name on
a loopback address (DNS rebinding). Never: sockets; a token or a credential in an answer.
"""

import ipaddress
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import orjson

from proxy.sandbox.faults import REDIRECTED_PATH
from proxy.sandbox.messages import Call, SandboxAnswer, UsageError
from proxy.sandbox.published import JSON_TYPE
from proxy.sandbox.state import Sandbox

PREFIX: Final = "/_sandbox/"

#: Fetch metadata of a page of one's own, or of an address typed by hand; anything else is another
#: site's doing.
_OWN_SITES: Final = frozenset({"none", "same-origin"})


def control(sandbox: Sandbox, call: Call, local_address: str | None) -> SandboxAnswer:
    """Answer a call of the control API. local_address: the listener's; None on a Unix socket."""
    refusal = _browser(call, local_address)
    if refusal is not None:
        return _problem(403, refusal)
    if call.path == REDIRECTED_PATH:
        sandbox.counters["redirects_followed"] += 1
        return _problem(404, "you followed a redirect of the token endpoint; nothing is here")
    if call.path not in _PAGES:
        return _problem(404, f"no such page; known: {', '.join(_PAGES)}")
    method, page = _PAGES[call.path]
    if call.method != method:
        return _problem(405, f"use {method}", ("Allow", method))
    try:
        return _pretty(200, page(sandbox, call))
    except UsageError as error:
        return _problem(400, str(error))


def _pretty(status: int, content: object, *fields: tuple[str, str]) -> SandboxAnswer:
    # Read by people, with curl.
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return SandboxAnswer(status, body, JSON_TYPE, (("Cache-Control", "no-store"), *fields))


def _problem(status: int, words: str, *fields: tuple[str, str]) -> SandboxAnswer:
    return _pretty(status, {"error": words}, *fields)


def _browser(call: Call, local_address: str | None) -> str | None:
    """Why the call looks like a web page's doing; None when it does not."""
    if (
        call.first("Origin") is not None
        or (call.first("Sec-Fetch-Site") or "none") not in _OWN_SITES
    ):
        return "web pages may not drive the sandbox"
    if is_loopback(local_address) and not is_loopback(_host(call)):
        return "the Host must be localhost, 127.0.0.1 or [::1]"
    return None


def _host(call: Call) -> str | None:
    try:
        return urlsplit(f"//{call.first('Host') or ''}").hostname
    except ValueError:
        return None


def is_loopback(host: str | None) -> bool:
    """Return whether only this host can reach that address or name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _faults(sandbox: Sandbox, call: Call) -> object:
    wanted = call.json_object()
    unknown = wanted.keys() - {"name", "value", "count"}
    if unknown:
        raise UsageError(f"unknown member {min(unknown)!r}; known: name, value, count")
    sandbox.fault(wanted.get("name"), wanted.get("value"), wanted.get("count"))
    return {"faults": sandbox.faults.shown()}


def _settings(sandbox: Sandbox, call: Call) -> object:
    sandbox.settings.change(call.json_object())
    return {"settings": sandbox.shown()["settings"]}


def _reset(sandbox: Sandbox, _: Call) -> object:
    sandbox.reset()
    return sandbox.shown()


#: By path: the only method, and what makes the content of the answer.
_PAGES: Final[dict[str, tuple[str, Callable[[Sandbox, Call], object]]]] = {
    f"{PREFIX}state": ("GET", lambda sandbox, _: sandbox.shown()),
    f"{PREFIX}orders": ("GET", lambda sandbox, _: {"orders": sandbox.orders_shown()}),
    f"{PREFIX}placed": ("GET", lambda sandbox, _: {"placed": sandbox.placed_shown()}),
    f"{PREFIX}faults": ("POST", _faults),
    f"{PREFIX}settings": ("PATCH", _settings),
    f"{PREFIX}revoke": ("POST", lambda sandbox, _: {"revoked": sandbox.revoke()}),
    f"{PREFIX}reset": ("POST", _reset),
}
