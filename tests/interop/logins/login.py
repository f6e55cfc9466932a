"""requests, and a dataclass as a binder: a member too many, or one too few, is an exception."""  # noqa: INP001 # run, not imported

import sys
from dataclasses import dataclass

import requests


@dataclass(frozen=True)
class Token:
    """The members that there have been for years."""

    access_token: str
    expires_in: str


def said(step: str, answer: requests.Response) -> requests.Response:
    """Print an answer."""
    sys.stdout.write(f"{step}\t{answer.status_code}\t{answer.headers.get('Content-Type')}\n")
    return answer


base, order = sys.argv[1:]
with requests.Session() as session:
    form = {"grant_type": "password", "username": "machine", "password": "påss"}
    answer = session.post(
        f"{base}/oauth/v2/token", data=form, auth=("client", "secret"), timeout=20
    )
    token = Token(**said("login", answer).json())
    if {type(value) for value in vars(token).values()} != {str}:
        sys.exit("not a token")
    session.headers["Authorization"] = f"Bearer {token.access_token}"
    said("list", session.get(f"{base}/corporate-accounts/v2/accounts", timeout=20))
    placed = session.post(
        f"{base}/corporate-mobile-subscriptions/v2/orders",
        data=order,
        headers={"Content-Type": "application/json"},
        timeout=20,
    )
    said("order", placed)
    if said("logout", session.get(f"{base}/oauth/v2/logout", timeout=20)).text != "OK!":
        sys.exit("not logged out")
