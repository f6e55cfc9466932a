"""The request target: forwarded byte for byte or not at all.

No spelling leads past the allow-list or to the token and logout endpoints.

tests/unit (policy, grammar) holds every spelling of what is refused; here is one of each kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.client import ACCOUNTS, ORDERS, request

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Lab

FAITHFUL = [
    ACCOUNTS,
    b"/corporate-accounts/?a=1&a=2&&=",
    b"/corporate-accounts//v2///accounts//",
    b"/corporate-accounts/a;b=c;d/e;",
    b"/corporate-accounts/%e6%97%A5?q=%E6%97%a5",
    b"/corporate-accounts/a%20b+c?q=a+b%2Bc%20d&e=%26",
    b'/corporate-accounts/"<>[]^`{|}',
    b"/corporate-accounts/a?b?c=/../d&e=//f&g=./..",
    b"/corporate-accounts/?q=%2e%2e%2f%5c%09",
    b"/corporate-accounts/.../.a/a./..a/a..",
    b"/corporate-accounts/%25zz",
    b"/corporate-accounts/?next=http://localhost/oauth/v2/token",
    b"/corporate-accounts/" + b"x" * (8192 - 20),
]


@pytest.mark.parametrize("target", FAITHFUL, ids=lambda target: target[:60].decode())
async def test_what_is_judged_is_what_is_sent(gateway: Gateway, target: bytes) -> None:
    """A target that may pass reaches the upstream byte for byte."""
    answer = await gateway.ask(request(b"GET", target))
    assert (answer.status, bytes(answer.content)) == (200, target)
    assert [seen.target for seen in gateway.upstream.requests] == [target]


@pytest.mark.parametrize(
    "target",
    [
        b"/corporate-accounts/../oauth/v2/token",
        b"/corporate-accounts/..?x",
        b"/corporate-accounts/..;a=b/oauth",
        b"/corporate-accounts/%2e%2e/oauth/v2/token",
        b"/corporate-accounts/a%2eb",
        b"/corporate-accounts/..%2foauth%2fv2%2ftoken",
        b"/corporate-accounts/..\\oauth",
        b"/corporate-accounts/%252e%252e/oauth",
        b"/corporate-accounts/%c0%ae%c0%ae/oauth",
        b"/corporate-accounts/%0d%0aX-Injected:%201",
        b"/corporate-accounts/%7F",
        b"/corporate-accounts/v2?a#b",
        b"//localhost/corporate-accounts/v2",
        b"corporate-accounts/v2",
        b"*",
        b"http://elsewhere.example/corporate-accounts/v2",
        b"http://localhost@elsewhere.example/corporate-accounts/",
        b"http:/corporate-accounts/v2",
        b"https://localhost/corporate-accounts/v2",
        b"http://localhost/corporate-accounts/../oauth/v2/token",
    ],
)
async def test_a_target_that_could_mean_two_things_is_refused(
    gateway: Gateway, target: bytes
) -> None:
    """Dot segments, encoded separators, fragments and other hosts get 400; nothing is repaired."""
    await gateway.refuses(request(b"GET", target), status=400, kind="ambiguous-target")
    assert not gateway.upstream.connections


@pytest.mark.parametrize(
    "target",
    [
        b"/corporate-accounts/%",
        b"/corporate-accounts/%zz",
        b"/corporate-accounts/?q=%00",
        b"/corporate-accounts/\x00",
        b"/corporate-accounts/\xc3\xa6",
        b"/corporate-accounts/a b",
        b"",
    ],
)
async def test_a_target_outside_the_grammar_is_refused(gateway: Gateway, target: bytes) -> None:
    """Raw control and 8-bit bytes, spaces and broken percent-encodings get 400."""
    await gateway.refuses(request(b"GET", target), status=400, kind="malformed-request")
    assert not gateway.upstream.connections


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/corporate-accounts",
        b"/corporate-accountsX/v2",
        b"/CORPORATE-ACCOUNTS/v2/accounts",
        b"/%63orporate-accounts/v2",
        b"/;/corporate-accounts/v2",
        b"/?/corporate-accounts/",
        b"/status",
        b"/oauth/v2/token",
        b"/%6fauth/v2/token",
        b"http://localhost/oauth/v2/token",
    ],
)
async def test_only_listed_prefixes_may_be_called(gateway: Gateway, target: bytes) -> None:
    """A path that does not begin with a listed prefix, byte for byte, gets 403."""
    await gateway.refuses(
        request(b"POST", target, content=b""), status=403, kind="path-not-allowed"
    )
    assert not gateway.upstream.connections


OURS = [
    b"/oauth/v2/token",
    b"/oauth/v2/logout",
    b"/oauth",
    b"/OAuth/V2/Token",
    b"/oauth//v2//token",
    b"/oauth/v2/token?grant_type=password",
    b"/oauth%3bx/v2/token",
    b"/%6f%61%75%74%68/v2/token",
    b"/;/oauth/v2/token",
    b"/login/v9/token",
    b"/LOGIN/v9/token",
    b"/login/v9/%74oken",
    b"/login//v9;a/token;b",
    b"/login/v9/token/more",
    b"/bye",
    b"/%62ye",
    b"/bye;x?y",
]


@pytest.mark.parametrize("target", OURS)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_no_spelling_reaches_the_token_endpoint(
    lab: Lab, method: bytes, target: bytes
) -> None:
    """Even where every path may be called, /oauth/ and the set token and logout paths may not."""
    gateway = await lab.gateway(
        upstream__allowed_paths="/", oauth__token_path="/login/v9/token", oauth__logout_path="/bye"
    )
    await gateway.refuses(request(method, target, content=b""), status=403, kind="path-not-allowed")
    assert not gateway.upstream.connections


@pytest.mark.parametrize("host", [b"localhost", b"localhost:8080", b"127.0.0.1", b"[::1]:1"])
@pytest.mark.parametrize("scheme", [b"http", b"HTTP"])
async def test_the_absolute_form_of_our_own_host_is_sent_in_origin_form(
    gateway: Gateway, scheme: bytes, host: bytes
) -> None:
    """An absolute form that names the request's Host is a path (RFC 9112 section 3.2.2)."""
    target = ORDERS + b"?a=%7E"
    answer = await gateway.ask(request(b"GET", scheme + b"://" + host + target, host=host))
    assert answer.status == 200
    assert gateway.upstream.requests[0].target == target


async def test_a_refusal_quotes_nothing_of_the_request(gateway: Gateway) -> None:
    """No byte of a refused target comes back, so that no log or page downstream shows it."""
    answer = await gateway.refuses(
        request(b"GET", b"/corporate-accounts/../marker-of-the-target"), status=400
    )
    assert b"marker" not in answer.content
    assert gateway.record.refused
    assert gateway.record.attempts == 0
