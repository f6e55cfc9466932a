"""`telenor-proxy status`: prints what the status page says first, from `/status` of a proxy."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from proxy import inquiry
from proxy.settings import AdminSettings

#: Bytes of `/status` without the history: settings, and some hundred orders of a few hundred bytes
#: each.
_MOST: Final = 4_194_304
#: Orders that are printed: the sentence above them stays on a terminal. `--json` has them all.
_MOST_ORDERS: Final = 15
#: The keys of `/status` that `--json` prints.
_KEYS: Final = ("headline", "token", "unknown_orders", "unknown_orders_counted", "certificates")
#: Whose certificates there are, by `what` in `/status`.
_CERTIFICATES: Final = {
    "listener": "The listener's certificate",
    "clients": "A certificate in listen.tls_client_ca_file",
    "api": "The API's certificate",
    "authorities": "A certificate in upstream.ca_file",
}


def run(admin: AdminSettings, *, as_json: bool) -> int:
    """Ask, print, and return the exit status: 0 if the state is `working`, otherwise 1."""
    try:
        _, content = inquiry.get(admin, "/status", _MOST)
        status = json.loads(content)
        state = status["headline"]["state"]
        lines = (
            [json.dumps({key: status[key] for key in _KEYS})] if as_json else list(_lines(status))
        )
    except inquiry.Unanswered as error:
        return _fail(str(error))
    except (ValueError, KeyError, TypeError):
        return _fail(inquiry.stranger(admin))
    print("\n".join(lines))  # noqa: T201 # a command's answer
    return 0 if state == "working" else 1


def _fail(problem: str) -> int:
    print(f"telenor-proxy: {problem}", file=sys.stderr)  # noqa: T201 # a command's answer
    return 1


def _lines(status: dict[str, Any]) -> Iterator[str]:
    headline = status["headline"]
    yield headline["text"]
    if headline["since"] is not None:
        yield f"Since {_moment(headline['since'])}.{_share(headline)}"
    yield _token(status["token"])
    yield from _certificates(status["certificates"])
    orders, counted = status["unknown_orders"], status["unknown_orders_counted"]
    if not orders:
        return
    shown = orders[:_MOST_ORDERS]
    older = f", the newest {len(shown)} of them here" if counted > len(shown) else ""
    yield (
        f"{counted} {'order' if counted == 1 else 'orders'} to look up{older}. Do not send one "
        "again before: the API may have placed it."
    )
    for order in shown:
        client = order["client"] or order["client_address"]
        caller = "" if client is None else f"{client}  "
        yield (
            f"  {_moment(order['at'])}  {caller}{order['method']} {order['path']}  "
            f"request id {order['request_id']}"
        )


def _share(headline: dict[str, Any]) -> str:
    failed, calls, caller = headline["failed"], headline["calls"], headline.get("caller")
    last = "" if caller is None else f" The last one came from {caller}."
    if not calls:
        return f" {failed} calls were turned away.{last}" if failed else ""
    share = "One call" if calls == 1 else f"{failed} of the last {calls} calls"
    return f" {share} failed.{last}"


def _token(token: dict[str, Any]) -> str:
    state = {
        "fresh": "valid",
        "stale": "due for renewal",
        "expired": "expired",
        "empty": "none",
    }[token["state"]]
    left = token["expires_in_seconds"]
    lives = f", expires in {left:.0f} s" if left else ""
    failing = token["last_failure"] is not None
    pause = token["next_attempt_in_seconds"]
    attempt = f", next attempt in {pause:.0f} s" if failing and pause else ""
    return f"Token: {state}{lives}{attempt}."


def _certificates(known: list[dict[str, Any]]) -> Iterator[str]:
    for one in known:
        if one["standing"] != "good":
            ends = "has ended:" if one["standing"] == "ended" else "ends at"
            yield f"{_CERTIFICATES[one['what']]} {ends} {_moment(one['not_after'])}."


def _moment(instant: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(instant))
