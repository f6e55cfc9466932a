"""The table of Telenor's documented calls is true of the proxy and of the sandbox."""

import re

import pytest

from proxy.clients.register import ANYBODY
from proxy.errors import Refused
from proxy.forward import policy
from proxy.sandbox import backend, login
from proxy.settings import load
from tests.docs.pages import PAGES, names, rows, section
from tests.docs.test_snippets import REQUIRED

PAGE = PAGES["docs/api.md"]
CALLS = rows(section(PAGE, "Calls of a client"))
LOGIN = rows(section(PAGE, "Calls of the proxy"))
SETTINGS = load(None, REQUIRED)
RULES = policy.Rules.of(SETTINGS)
EXAMPLES = {"{orgNumber}": "914742315", "{msisdn}": "4799885577"}
YES_OR_NO = {True: "yes", False: "no"}


def parts(row: list[str]) -> tuple[str, str]:
    """Read a row's method and path, with examples in the place of names."""
    method, _, path = names(row[0])[0].partition(" ")
    return method, re.sub(r"\{\w+\}", lambda name: EXAMPLES[name[0]], path)


def passes(method: str, path: str) -> bool:
    """Ask the guard, with the settings as they are installed."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
    try:
        policy.judge(policy.parse(head, RULES), RULES, ANYBODY)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("row", CALLS + LOGIN, ids=lambda row: row[0].strip("`"))
def test_a_row_is_true_of_the_guard_and_of_the_sandbox(row: list[str]) -> None:
    """What the table says of a call is what the guard and the sandbox do with it."""
    method, path = parts(row)
    known = path in {login.TOKEN_PATH, login.LOGOUT_PATH} or backend.knows(method, path)
    assert row[3] in {"stated", "demo"}
    assert row[4:] == [YES_OR_NO[passes(method, path)], YES_OR_NO[known]]


def test_every_stated_call_is_served_by_default() -> None:
    """The proxy as it is installed refuses no documented call, and the sandbox knows them all."""
    assert {tuple(row[4:]) for row in CALLS} == {("yes", "yes")}
    assert {row[1] for row in CALLS} == {"Order", "Info"}


def test_the_prefixes_are_the_default() -> None:
    """The table of prefixes is the default of the setting."""
    shown = [names(row[0])[0] for row in rows(section(PAGE, "Which prefix serves what"))]
    assert shown == list(SETTINGS.upstream.allowed_paths)
    used = {f"/{parts(row)[1].split('/')[1]}/" for row in CALLS}
    assert used == set(shown)


def test_no_stated_call_is_listed_as_a_guess() -> None:
    """No call that Telenor states is on the sandbox page's list of guesses."""
    guessed = PAGES["docs/sandbox.md"].partition("**Guessed**")[2]
    stated = {names(row[0])[0] for row in CALLS if row[3] == "stated"}
    assert stated.isdisjoint(names(guessed))
