"""Which targets may pass: what is judged is what is sent, byte for byte, and what two servers could read in two ways is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest

from proxy.clients.register import ANYBODY
from proxy.errors import Refused
from proxy.forward import policy
from proxy.problems import ProblemKind
from proxy.settings import judge


def rules(*allowed_paths: str, **oauth: str) -> policy.Rules:
    """Return the rules for these allowed paths (default: everything) and paths of the proxy's own."""
    credentials = {"client_id": "c", "client_secret": "s", "username": "u", "password": "p"}
    return policy.Rules.of(
        judge(
            {
                "upstream": {"allowed_paths": list(allowed_paths) or ["/"]},
                "oauth": {**credentials, **oauth},
            },
            {},
        )
    )


EVERYTHING = rules()
DEFAULT = policy.Rules.of(
    judge({"oauth": {"client_id": "c", "client_secret": "s", "username": "u", "password": "p"}}, {})
)


def judged(
    target: bytes, given: policy.Rules = EVERYTHING, *, host: bytes = b"localhost:8080"
) -> bytes:
    """Return what goes upstream for this target."""
    head = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)
    return policy.judge(policy.parse(head, given), given, ANYBODY).target


def refusal(
    target: bytes, given: policy.Rules = EVERYTHING, *, host: bytes = b"localhost:8080"
) -> ProblemKind:
    """Return the kind of refusal that this target gets."""
    with pytest.raises(Refused) as caught:
        judged(target, given, host=host)
    return caught.value.kind


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a/b/",
        b"/a//b",
        b"/a/b//",
        b"/?",
        b"/??",
        b"/a?b=c&d=e",
        b"/a?b=../..&c=/./",
        b"/a?b=%2e%2e%2f%5c%25%0a",
        b"/a?url=http://x.example/;y?z@:",
        b"/a?b\\c",
        b"/%7Ea/~a",
        b"/%c3%b8/%C3%B8",
        b"/%E0%A4%B9/%F0%9F%98%80/%ED%9F%BF",
        b"/a%20b/a+b",
        b"/100%25",
        b"/100%25zz",
        b"/%3Ba/a;b=c;d/a%3Bb",
        b"/...",
        b"/.../a",
        b"/.a/..b/a./b../.well-known",
        b"/:@!$&'()*+,=-._~",
        b'/"<>^`{|}',
        b"/http://x.example/",
        b"/*",
        b"/a?/oauth/v2/token",
        b"/a/oauth/v2/token",
        b"/oauthx/v2/token",
        b"/xoauth",
    ],
)
def test_a_target_goes_on_byte_for_byte(target: bytes) -> None:
    """What may pass passes as it came: no decoding, no encoding, no tidying."""
    assert judged(target) == target


@pytest.mark.parametrize("tail", [b"", b"/", b"/a", b"?a", b"/?a"])
@pytest.mark.parametrize(
    "dots",
    [
        b"/.",
        b"/..",
        b"/a/.",
        b"/a/..",
        b"/./..",
        b"/a/..;",
        b"/a/..;x",
        b"/a/..;x=y;z",
        b"/a/.;x",
        b"/a/..;%2e",
        b"/a/..%3B",
        b"/a/..%3bx=y",
        b"/a/.%3Bx",
        b"/a/..%20",
        b"/a/.%20%20",
        b"/a/..%20;x",
        b"/%2e",
        b"/%2E%2e",
        b"/a/%2e.",
        b"/a/.%2E",
        b"/a/%2e%2e",
        b"/a/%2e%2e;x",
        b"/a/%252e%252e",
        b"/a/%25252e",
        b"/a/%25%32%65",
        b"/a/%C0%AE%C0%AE",
        b"/a/%c0%2e",
        b"/a/%c1%9c",
        b"/a/%E0%80%AE",
        b"/a/%e0%9f%bf",
        b"/a/%F0%80%80%AE",
        b"/a/%f0%8f%bf%bf",
    ],
)
def test_no_dot_segment_passes_however_it_is_spelled(dots: bytes, tail: bytes) -> None:
    """Plain, encoded, encoded twice, overlong, with parameters, with blanks.

    What any server might walk up on is refused.
    """
    assert refusal(dots + tail) is ProblemKind.AMBIGUOUS_TARGET


@pytest.mark.parametrize(
    "target",
    [
        b"/a%2Fb",
        b"/a%2fb",
        b"/%2f",
        b"/a%5Cb",
        b"/a%5cb",
        b"/a\\b",
        b"/\\evil.example/",
        b"/a%252Fb",
        b"/a%255Cb",
        b"/a%25%35%43b",
        b"//evil.example/",
        b"//",
        b"///a",
        b"//localhost:8080/",
        b"/\\/a",
    ],
)
def test_no_slash_is_hidden_or_doubled_in_front(target: bytes) -> None:
    """Encoded slashes, backslashes and `//host` move a path or a host for some servers and not for others."""
    assert refusal(target) is ProblemKind.AMBIGUOUS_TARGET


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F])
def test_no_control_byte_is_hidden_in_a_path(byte: int) -> None:
    """Encoded control bytes, among them NUL, CR and LF, end a path or a line for some servers."""
    for form in (b"%%%02x", b"%%%02X", b"%%25%02x"):
        assert refusal(b"/a" + form % byte) is ProblemKind.AMBIGUOUS_TARGET


@pytest.mark.parametrize(
    "target", [b"/a#", b"/a#b", b"/#/../oauth", b"/a?b#c", b"/a?b#", b"/a?b%00#c"]
)
def test_no_fragment_passes(target: bytes) -> None:
    """A fragment is the client's own business (RFC 9110 section 4.2.5) and is cut off by some servers only."""
    assert refusal(target) is ProblemKind.AMBIGUOUS_TARGET


@pytest.mark.parametrize(
    "target",
    [b"/%", b"/%a", b"/%zz", b"/%2", b"/%2g", b"/%%32%65", b"/%u002e", b"/?%", b"/?a=%zz", b"/a?b=%00", b"/?%00%2e"],
)  # fmt: skip
def test_broken_percent_encoding_is_malformed(target: bytes) -> None:
    """A percent sign stands for two hexadecimal digits, in path and query, and an encoded NUL stands nowhere."""
    assert refusal(target) is ProblemKind.MALFORMED


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"a",
        b"a/b",
        b"?a",
        b".",
        b"localhost:8080",
        b"evil.example:443",
        b"http:/a",
        b"http:///a",
        b"http://localhost:8080#a",
        b"http://localhost/a",
        b"http://evil.example/a",
        b"http://localhost:8080@evil.example/a",
        b"http://evil.example@localhost:8080/a",
        b"http://user:pass@localhost:8080/a",
        b"http://localhost:8080.evil.example/a",
        b"http://localhost:08080/a",
        b"http://[::1]:8080/a",
        b"https://localhost:8080/a",
        b"ftp://localhost:8080/a",
        b"://localhost:8080/a",
        b"http:\\\\localhost:8080/a",
        b"javascript:alert(1)",
    ],
)
def test_only_paths_are_forwarded(target: bytes) -> None:
    """Every other form of target is refused.

    Asterisk, authority, another scheme, a host that is not the very one of the Host field.
    """
    assert refusal(target) is ProblemKind.AMBIGUOUS_TARGET


@pytest.mark.parametrize(
    ("target", "host", "sent"),
    [
        (b"http://localhost:8080/", b"localhost:8080", b"/"),
        (b"HtTp://localhost:8080/a?b=http://x/", b"localhost:8080", b"/a?b=http://x/"),
        (b"http://localhost/%7Ea//b", b"localhost", b"/%7Ea//b"),
        (b"http://[::1]:1/a", b"[::1]:1", b"/a"),
        (b"http://localhost:8080", b"localhost:8080", b"/"),
        (b"http://localhost:8080?a", b"localhost:8080", b"/?a"),
        (b"http://LOCALHOST:8080/a", b"LocalHost:8080", b"/a"),
    ],
)
def test_an_absolute_form_for_this_host_is_sent_in_origin_form(
    target: bytes, host: bytes, sent: bytes
) -> None:
    """A target that repeats the Host field (RFC 9112 section 3.2.2) means its path, and that is what goes on."""
    assert judged(target, host=host) == sent


@pytest.mark.parametrize(
    "target",
    [b"http://localhost:8080//a", b"http://localhost:8080/..", b"http://localhost:8080/%2e", b"http://localhost:8080/a#b", b"http://localhost:8080/a\\b"],
)  # fmt: skip
def test_the_path_of_an_absolute_form_is_judged_like_any_other(target: bytes) -> None:
    """What is judged is what would be sent."""
    assert refusal(target) is ProblemKind.AMBIGUOUS_TARGET


def test_an_absolute_form_without_a_host_field_is_refused() -> None:
    """In HTTP/1.0, where Host may be missing, nothing vouches for the host of the target."""
    head = policy.parse(b"GET http://localhost/ HTTP/1.0\r\n\r\n", EVERYTHING)
    with pytest.raises(Refused) as caught:
        policy.judge(head, EVERYTHING, ANYBODY)
    assert caught.value.kind is ProblemKind.AMBIGUOUS_TARGET


# --- allowed paths -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        b"/corporate-mobile-subscriptions/",
        b"/corporate-mobile-subscriptions/v1/orders?a=b",
        b"/corporate-mobile-subscriptions/?",
        b"/corporate-accounts//a;b/%C3%B8",
    ],
)
def test_what_lies_under_an_allowed_path_passes(target: bytes) -> None:
    """The default prefixes open the two families of calls that the product is for."""
    assert judged(target, DEFAULT) == target


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/corporate-mobile-subscriptions",
        b"/corporate-mobile-subscriptions?/",
        b"/corporate-mobile-subscriptionsx/",
        b"/corporate-mobile-subscriptions;/",
        b"/Corporate-Accounts/",
        b"/corporate%2Daccounts/",
        b"/a/corporate-accounts/",
        b"/;/corporate-accounts/",
        b"/?/corporate-accounts/",
        b"/oauth/v2/token",
    ],
)
def test_what_lies_elsewhere_is_refused(target: bytes) -> None:
    """A prefix is compared with the path's very bytes: another spelling is another path."""
    assert refusal(target, DEFAULT) is ProblemKind.PATH_NOT_ALLOWED


@pytest.mark.parametrize("target", [b"/a/b", b"/a/b/", b"/a/b/c", b"/a/b?c"])
def test_a_prefix_without_a_slash_ends_at_a_segment(target: bytes) -> None:
    """`/a/b` opens itself and what lies under it."""
    assert judged(target, rules("/a/b")) == target


@pytest.mark.parametrize("target", [b"/a/bc", b"/a/b;c", b"/a/b%20", b"/a/", b"/a", b"/A/B"])
def test_a_prefix_without_a_slash_opens_no_neighbour(target: bytes) -> None:
    """`/a/b` opens neither `/a/bc` nor its parent."""
    assert refusal(target, rules("/a/b")) is ProblemKind.PATH_NOT_ALLOWED


# --- the endpoints that are the proxy's own ----------------------------------------------------

OWN = [
    b"/oauth",
    b"/oauth/",
    b"/oauth/v2/token",
    b"/oauth/v2/token/",
    b"/oauth/v2/token?grant_type=password",
    b"/oauth/v2/logout",
    b"/oauth/anything",
    b"/oauth/v2//token",
    b"/OAuth/V2/Token",
    b"/OAUTH",
    b"/%6fauth/v2/token",
    b"/%6F%41uth/v2/t%6fken",
    b"/%6f%61%75%74%68",
    b"/oauth;a=b/v2/token",
    b"/oauth;/v2",
    b"/oauth%3Ba/v2/token",
    b"/oauth%20/v2/token",
    b"/oauth./v2/token",
    b"/oauth..%20./v2/token",
    b"/;a/oauth/v2/token",
    b"/%3B/oauth",
    b"/%20/oauth",
    b"/.../oauth/v2/token",
    b"http://localhost:8080/oauth/v2/token",
]


@pytest.mark.parametrize("target", OWN)
def test_the_token_endpoint_is_out_of_reach_in_any_spelling(target: bytes) -> None:
    """Even when everything is allowed, no client calls what lies under /oauth.

    Not in other case, not encoded, not with parameters.
    """
    assert refusal(target) is ProblemKind.PATH_NOT_ALLOWED


@pytest.mark.parametrize(
    "dressing", [b"/.%b", b"/a/..%b", b"/%%2e%b", b"/%b", b"/a/..;%b", b"/a/..%%3B%b", b"/a%%2f..%b", b"\\%b", b"/a/%%2e%%2e%b", b"/.;%b"]
)  # fmt: skip
def test_no_detour_leads_to_the_token_endpoint(dressing: bytes) -> None:
    """What a lenient server would resolve to the token endpoint is refused, for whatever reason."""
    assert refusal(dressing % b"/oauth/v2/token") in {
        ProblemKind.AMBIGUOUS_TARGET,
        ProblemKind.PATH_NOT_ALLOWED,
    }


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        (b"/auth/sign-in", False),
        (b"/auth/sign-in/x", False),
        (b"/Auth/Sign%2Din;x/", False),
        (b"/auth/leave", False),
        (b"/auth/%6ceave", False),
        (b"/oauth/v2/token", False),
        (b"/auth/sign-in-2", True),
        (b"/auth/", True),
        (b"/auth/x/sign-in", True),
    ],
)
def test_configured_endpoints_are_out_of_reach_too(target: bytes, passes: bool) -> None:  # noqa: FBT001 # a column of the table
    """`oauth.token_path` and `oauth.logout_path` are protected wherever they are, and /oauth with them."""
    for allowed in ("/", "/auth/") if not target.startswith(b"/oauth") else ("/",):
        given = rules(allowed, token_path="/auth/sign-in", logout_path="/auth/leave")
        if passes:
            assert judged(target, given) == target
        else:
            assert refusal(target, given) is ProblemKind.PATH_NOT_ALLOWED


def _as_a_lenient_server_reads(path: bytes) -> list[bytes]:
    """Resolve a path the way a server might that decodes, strips parameters, knows backslashes and folds case."""
    segments: list[bytes] = []
    for segment in re.split(rb"[/\\]", unquote_to_bytes(unquote_to_bytes(path)).lower()):
        name = segment.partition(b";")[0].strip()
        if name == b"..":
            del segments[-1:]
        elif name not in {b"", b"."}:
            segments.append(name)
    return segments


def test_no_short_path_reaches_the_token_endpoint() -> None:
    """Of all paths made of up to four of the pieces that such detours are made of, none passes that a lenient server would resolve to /oauth."""
    pieces = [b"oauth", b"%4Fauth", b"oauth;x", b".", b"..", b"..;", b"..%3b", b"%2e%2e", b"%252e%252e", b"a", b"", b"%2f", b"..%20", b"%5c.."]  # fmt: skip
    paths = [b""]
    passed = 0
    for _ in range(4):
        paths = [b"%b/%b" % (path, piece) for path in paths for piece in pieces]
        for path in paths:
            try:
                judged(path)
            except Refused:
                continue
            passed += 1
            assert _as_a_lenient_server_reads(path)[:1] != [b"oauth"]
    assert passed > 100


@pytest.mark.parametrize(
    "target",
    [b"/%68unter2/..", b"//hunter2", b"/oauth/hunter2", b"hunter2", b"/hunter2%", b"/a#hunter2"],
)
def test_a_refusal_quotes_nothing(target: bytes) -> None:
    """A target may hold what nobody else should read; no refusal repeats it."""
    with pytest.raises(Refused) as caught:
        judged(target)
    assert "unter2" not in caught.value.detail
