"""The Idempotency-Key: which fields are keys, and which are one and the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.orders import key
from proxy.orders.key import fingerprint, identify, identify_guarded, parse

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


@given(VISIBLE)
def test_quotes_do_not_count(name: str) -> None:
    """A key is the same quoted as a structured string and bare, unless bare it would be a quote."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse([quoted.encode()]) == name
    if not name.startswith('"'):
        assert parse([name.encode()]) == name


@pytest.mark.parametrize("value", [b"abc", b'"abc"', b" abc\t", b' "abc" '])
def test_one_key_in_several_spellings(value: bytes) -> None:
    """Whitespace around a field value is no part of it (RFC 9110 section 5.5)."""
    assert parse([value]) == "abc"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([b"a", b"a"], "more than once"),
        ([b""], "empty"),
        ([b"  "], "empty"),
        ([b'""'], "empty"),
        ([b"a" * 256], "more than 255"),
        ([b'"' + b"a" * 256 + b'"'], "more than 255"),
        ([b"a b"], "visible"),
        ([b'"a b"'], "visible"),
        ([b"a\x00"], "visible"),
        ([b"a\x7f"], "visible"),
        ([b"\xc3\xa5"], "visible"),
        ([b'"a'], "quotes"),
        ([b'"a";p=1'], "quotes"),
        ([b'"a\\x"'], "quotes"),
        ([b'"a" "b"'], "quotes"),
        ([b'"a\x00"'], "quotes"),
    ],
)
def test_what_is_no_key(fields: list[bytes], why: str) -> None:
    """Each is refused in words, and none of them quotes the field."""
    with pytest.raises(Refused, match=why):
        parse(fields)


def test_the_longest_key() -> None:
    """255 characters are one, with quotes around it as well."""
    assert parse([b"a" * 255]) == parse([b'"' + b"a" * 255 + b'"']) == "a" * key.LONGEST


PARTS = ("app", b"POST", b"/x/orders?a=1", b"1")


def whole(client: str, method: bytes, target: bytes, content: bytes) -> bytes:
    """Return the fingerprint of an order."""
    digest = fingerprint(client, method, target)
    digest.update(content)
    return digest.digest()


@pytest.mark.parametrize(
    "other",
    [
        ("ap", b"pPOST", *PARTS[2:]),
        ("app", b"PUT", *PARTS[2:]),
        ("app", b"POST", b"/x/orders?a=2", PARTS[3]),
        ("app", b"POST", b"/x/orders?a=", b"11"),
        (*PARTS[:3], b"2"),
        ("", *PARTS[1:]),
    ],
)
def test_orders_differ_in_each_part(other: tuple[str, bytes, bytes, bytes]) -> None:
    """Client, method, target and content count, each by itself."""
    assert whole(*PARTS) == whole(*PARTS)
    assert whole(*PARTS) != whole(*other)


def test_a_key_belongs_to_its_client() -> None:
    """Two clients may use one key; a guarded order never gets the id of one with a key."""
    ids = {identify("a", "k"), identify("b", "k"), identify("a", "l"), identify("", "ak")}
    ids |= {identify_guarded(whole(*PARTS))}
    assert len(ids) == 5
    assert all(len(name) == 32 and name.isalnum() for name in ids)
