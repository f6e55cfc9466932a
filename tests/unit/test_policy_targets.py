"""Which targets may pass: byte for byte, unless servers could read them in two ways."""

import re
from urllib.parse import unquote_to_bytes

import pytest

from proxy.clients.register import ANYBODY
from proxy.errors import Refused
from proxy.forward import policy
from proxy.problems import ProblemKind
from tests.unit.made import settings


def rules(*allowed_paths: str, **oauth: str) -> policy.Rules:
    """Return the rules for these allowed paths (all by default) and login paths."""
    return policy.Rules.of(
        settings(upstream={"allowed_paths": list(allowed_paths) or ["/"]}, oauth=oauth)
    )


EVERYTHING = rules()
DEFAULT = policy.Rules.of(settings())
HOST = b"localhost:8080"


def judged(target: bytes, given: policy.Rules = EVERYTHING, *, host: bytes = HOST) -> bytes:
    """Return what goes upstream for this target."""
    head = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)
    return policy.judge(policy.parse(head, given), given, ANYBODY).target


def refusal(target: bytes, given: policy.Rules = EVERYTHING, *, host: bytes = HOST) -> ProblemKind:
    """Return the kind of refusal that this target gets."""
    with pytest.raises(Refused) as caught:
        judged(target, given, host=host)
    return caught.value.kind


@pytest.mark.parametrize(
    "target",
    (
        b"/ /a/b/ /a//b /a/b// /? /?? /a?b=c&d=e /a?b=../..&c=/./ "
        b"/a?b=%2e%2e%2f%5c%25%0a /a?url=http://x.example/;y?z@: /a?b\\c /%7Ea/~a "
        b"/%c3%b8/%C3%B8 /%E0%A4%B9/%F0%9F%98%80/%ED%9F%BF /a%20b/a+b /100%25 "
        b"/100%25zz /%3Ba/a;b=c;d/a%3Bb /... /.../a /.a/..b/a./b../.well-known "
        b"/:@!$&'()*+,=-._~ /\"<>^`{|} /http://x.example/ /* /a?/oauth/v2/token "
        b"/a/oauth/v2/token /oauthx/v2/token /xoauth"
    ).split(),
)
def test_a_target_goes_on_byte_for_byte(target: bytes) -> None:
    """No decoding, no encoding, no normalization."""
    assert judged(target) == target


@pytest.mark.parametrize("tail", [b"", b"/", b"/a", b"?a", b"/?a"])
@pytest.mark.parametrize(
    "dots",
    (
        b"/. /.. /a/. /a/.. /./.. /a/..; /a/..;x /a/..;x=y;z /a/.;x /a/..;%2e "
        b"/a/..%3B /a/..%3bx=y /a/.%3Bx /a/..%20 /a/.%20%20 /a/..%20;x /%2e /%2E%2e "
        b"/a/%2e. /a/.%2E /a/%2e%2e /a/%2e%2e;x /a/%252e%252e /a/%25252e /a/%25%32%65 "
        b"/a/%C0%AE%C0%AE /a/%c0%2e /a/%c1%9c /a/%E0%80%AE /a/%e0%9f%bf "
        b"/a/%F0%80%80%AE /a/%f0%8f%bf%bf"
    ).split(),
)
def test_no_dot_segment_passes_however_it_is_spelled(dots: bytes, tail: bytes) -> None:
    """Plain, encoded once or twice, overlong, with parameters, with blanks."""
    assert refusal(dots + tail) is ProblemKind.AMBIGUOUS_TARGET


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F])
def test_no_control_byte_is_hidden_in_a_path(byte: int) -> None:
    """Some servers end a path or a line there."""
    for form in (b"%%%02x", b"%%%02X", b"%%25%02x"):
        assert refusal(b"/a" + form % byte) is ProblemKind.AMBIGUOUS_TARGET


@pytest.mark.parametrize(
    "target", b"/% /%a /%zz /%2 /%2g /%%32%65 /%u002e /?% /?a=%zz /a?b=%00 /?%00%2e".split()
)
def test_broken_percent_encoding_is_malformed(target: bytes) -> None:
    """In path and query; an encoded NUL, too."""
    assert refusal(target) is ProblemKind.MALFORMED


#: Slashes that are hidden or doubled in front change path or host for some servers only.
SLASHES = (
    b"/a%2Fb /a%2fb /%2f /a%5Cb /a%5cb /a\\b /\\evil.example/ /a%252Fb /a%255Cb "
    b"/a%25%35%43b //evil.example/ // ///a //localhost:8080/ /\\/a"
).split()
#: Fragments are the client's own (RFC 9110 section 4.2.5), and some servers cut them off.
FRAGMENTS = b"/a# /a#b /#/../oauth /a?b#c /a?b# /a?b%00#c".split()
#: Not asterisk, authority, another scheme, or another host than the Host field's.
OTHER_FORMS = (
    b"* a a/b ?a . localhost:8080 evil.example:443 http:/a http:///a "
    b"http://localhost:8080#a http://localhost/a http://evil.example/a "
    b"http://localhost:8080@evil.example/a http://evil.example@localhost:8080/a "
    b"http://user:pass@localhost:8080/a http://localhost:8080.evil.example/a "
    b"http://localhost:08080/a http://[::1]:8080/a https://localhost:8080/a "
    b"ftp://localhost:8080/a ://localhost:8080/a http:\\\\localhost:8080/a "
    b"javascript:alert(1)"
).split()
#: The path of an absolute form is judged as it would be sent.
ABSOLUTE = [b"http://localhost:8080" + path for path in b"//a /.. /%2e /a#b /a\\b".split()]


@pytest.mark.parametrize("target", [*SLASHES, *FRAGMENTS, *OTHER_FORMS, *ABSOLUTE])
def test_an_ambiguous_target_is_refused(target: bytes) -> None:
    """Servers would read it in different ways."""
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
    """If it repeats the Host field (RFC 9112 section 3.2.2)."""
    assert judged(target, host=host) == sent


def test_an_absolute_form_without_a_host_field_is_refused() -> None:
    """HTTP/1.0 may leave Host out, and nothing confirms the target's."""
    head = policy.parse(b"GET http://localhost/ HTTP/1.0\r\n\r\n", EVERYTHING)
    with pytest.raises(Refused) as caught:
        policy.judge(head, EVERYTHING, ANYBODY)
    assert caught.value.kind is ProblemKind.AMBIGUOUS_TARGET


# --- allowed paths -----------------------------------------------------------------------------


def test_only_what_lies_under_an_allowed_path_passes() -> None:
    """Prefixes, here the default ones, are compared by bytes: another spelling is another path."""
    under = (
        b"/corporate-mobile-subscriptions/ /corporate-mobile-subscriptions/v1/orders?a=b "
        b"/corporate-mobile-subscriptions/? /corporate-accounts//a;b/%C3%B8"
    )
    for target in under.split():
        assert judged(target, DEFAULT) == target
    elsewhere = (
        b"/ /corporate-mobile-subscriptions /corporate-mobile-subscriptions?/ "
        b"/corporate-mobile-subscriptionsx/ /corporate-mobile-subscriptions;/ "
        b"/Corporate-Accounts/ /corporate%2Daccounts/ /a/corporate-accounts/ "
        b"/;/corporate-accounts/ /?/corporate-accounts/ /oauth/v2/token"
    )
    for target in elsewhere.split():
        assert refusal(target, DEFAULT) is ProblemKind.PATH_NOT_ALLOWED, target


def test_a_prefix_without_a_slash_ends_at_a_segment() -> None:
    """`/a/b` allows itself and what lies under it, and no neighbour."""
    for target in (b"/a/b", b"/a/b/", b"/a/b/c", b"/a/b?c"):
        assert judged(target, rules("/a/b")) == target
    for target in (b"/a/bc", b"/a/b;c", b"/a/b%20", b"/a/", b"/a", b"/A/B"):
        assert refusal(target, rules("/a/b")) is ProblemKind.PATH_NOT_ALLOWED


# --- the endpoints that are the proxy's own ----------------------------------------------------

OWN = (
    b"/oauth /oauth/ /oauth/v2/token /oauth/v2/token/ "
    b"/oauth/v2/token?grant_type=password /oauth/v2/logout /oauth/anything "
    b"/oauth/v2//token /OAuth/V2/Token /OAUTH /%6fauth/v2/token /%6F%41uth/v2/t%6fken "
    b"/%6f%61%75%74%68 /oauth;a=b/v2/token /oauth;/v2 /oauth%3Ba/v2/token "
    b"/oauth%20/v2/token /oauth./v2/token /oauth..%20./v2/token /;a/oauth/v2/token "
    b"/%3B/oauth /%20/oauth /.../oauth/v2/token http://localhost:8080/oauth/v2/token"
).split()


@pytest.mark.parametrize("target", OWN)
def test_the_token_endpoint_is_out_of_reach_in_any_spelling(target: bytes) -> None:
    """Even when everything is allowed."""
    assert refusal(target) is ProblemKind.PATH_NOT_ALLOWED


@pytest.mark.parametrize(
    "dressing",
    (b"/.%b /a/..%b /%%2e%b /%b /a/..;%b /a/..%%3B%b /a%%2f..%b \\%b /a/%%2e%%2e%b /.;%b").split(),
)
def test_no_detour_leads_to_the_token_endpoint(dressing: bytes) -> None:
    """For a server that resolves paths leniently."""
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
def test_configured_endpoints_are_out_of_reach_too(target: bytes, *, passes: bool) -> None:
    """`oauth.token_path` and `oauth.logout_path` wherever they are, and /oauth."""
    for allowed in ("/", "/auth/") if not target.startswith(b"/oauth") else ("/",):
        given = rules(allowed, token_path="/auth/sign-in", logout_path="/auth/leave")
        if passes:
            assert judged(target, given) == target
        else:
            assert refusal(target, given) is ProblemKind.PATH_NOT_ALLOWED


def _as_a_lenient_server_reads(path: bytes) -> list[bytes]:
    """Resolve a path as a server that decodes, strips parameters and folds case."""
    segments: list[bytes] = []
    for segment in re.split(rb"[/\\]", unquote_to_bytes(unquote_to_bytes(path)).lower()):
        name = segment.partition(b";")[0].strip()
        if name == b"..":
            del segments[-1:]
        elif name not in {b"", b"."}:
            segments.append(name)
    return segments


def test_no_short_path_reaches_the_token_endpoint() -> None:
    """All paths of up to four pieces that such detours are made of."""
    pieces = b"oauth %4Fauth oauth;x . .. ..; ..%3b %2e%2e %252e%252e a %2f ..%20 %5c..".split()
    pieces.append(b"")
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
    """A target may be confidential."""
    with pytest.raises(Refused) as caught:
        judged(target)
    assert "unter2" not in caught.value.detail
