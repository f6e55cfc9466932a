"""Request smuggling, searched: a request that is accepted is the same request for every reader.

*Either a request is refused and nothing whole of it reaches the upstream, or h11 reads from what
reaches the upstream exactly the one request that it reads from what the client sent*: method,
target, content and end-to-end fields, and the next request begins at the same byte. The same holds
for aiohttp's C parser, which is related to that of Node.

h11 reads more leniently than the proxy (folded lines, bare LF, white space), so the law has one
direction only: what the proxy refuses is not compared. `readers.is_h11_stricter` names the cases in
which h11 is the stricter one.
"""

import re
from collections.abc import Iterator
from typing import Final

import h11
from hypothesis import event, example, given

from tests.fuzz import grammar, passage, readers
from tests.fuzz.grammar import Traffic
from tests.fuzz.profile import SEARCH
from tests.fuzz.readers import Fields, Reading

#: Fields that never leave as they came, written down a second time: this file does not ask
#: `rewrite` what is right.
_NOT_END_TO_END: Final = frozenset(
    (
        b"authorization connection content-length expect host http2-settings keep-alive "
        b"proxy-authorization proxy-connection te trailer transfer-encoding upgrade x-proxy-key "
        b"x-request-id"
    ).split()
)


def _requests(traffic: Traffic) -> Iterator[tuple[bytes, passage.Sent, int]]:
    """Yield per request: the bytes from its start, what was sent, how many bytes are left."""
    client = passage.Client(traffic.segments())
    while client.left():
        rest = traffic.data[len(traffic.data) - client.left() :]
        sent = passage.run(passage.forward_one(client))
        event("forwarded" if sent.whole else "cut" if sent.out else "refused")
        yield rest, sent, client.left()
        if not sent.whole:
            return


def _read_as_client_sent_it(rest: bytes) -> Reading | None:
    try:
        return readers.request_by_h11(rest)
    except h11.RemoteProtocolError:
        if readers.is_h11_stricter(rest):
            return None
        raise


def _repeats_a_singleton(fields: Fields) -> bool:
    """Whether aiohttp refuses this although it is one well-framed request."""
    names = [name.lower() for name, _ in fields]
    return any(names.count(name) > 1 for name in (b"content-type", b"user-agent"))


def _folded(fields: Fields) -> Fields:
    """As h11 does: the name of a transfer coding in lower case."""
    return [
        (name, value.lower() if name.lower() == b"transfer-encoding" else value)
        for name, value in fields
    ]


def _origin_form(target: bytes) -> bytes:
    # Scheme and host have no case (RFC 9110 section 4.2.3).
    return re.sub(rb"(?i)\Ahttp://localhost(?=/)", b"", target)


@SEARCH
@example(grammar.Traffic(b"GET HTTP://Localhost/a HTTP/1.1\r\nHost: localhost\r\n\r\n", ()))
@given(grammar.requests())
def test_both_sides_read_the_same_request(traffic: Traffic) -> None:
    """The same method, target, content, fields and end are read by h11 on both sides."""
    for rest, sent, left in _requests(traffic):
        if not sent.whole:
            continue
        upstream = readers.request_by_h11(sent.out)
        assert upstream is not None
        assert upstream.left == 0
        client = _read_as_client_sent_it(rest)
        if client is None:
            continue
        assert client.left == left
        assert upstream.first == (client.first[0], _origin_form(client.first[1]))
        assert upstream.content == client.content
        there, here = (
            readers.end_to_end(side.fields, _NOT_END_TO_END, underscores=True)
            for side in (upstream, client)
        )
        assert there == here


@SEARCH
@given(grammar.requests())
def test_a_refused_or_broken_request_never_looks_whole(traffic: Traffic) -> None:
    """Its end is never read by h11 at the upstream's side."""
    for _, sent, _ in _requests(traffic):
        if sent.out and not sent.whole:
            assert readers.request_by_h11(sent.out) is None


@SEARCH
@given(grammar.requests())
def test_exactly_one_credential_leaves_and_it_is_ours(traffic: Traffic) -> None:
    """One `Authorization`, ours and last; one `Host`, ours and first; nothing hop-by-hop."""
    for _, sent, _ in _requests(traffic):
        if not sent.out:
            continue
        head, _, _ = sent.out.partition(b"\r\n\r\n")
        fields = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        names = [name.lower() for name, _, _ in fields]
        lookalikes = [name.replace(b"_", b"-") for name in names]
        assert (fields[0][0], fields[0][2]) == (b"Host", passage.HOST)
        assert b": ".join(fields[-1][::2]) + b"\r\n" == passage.CREDENTIAL
        for once in (b"host", b"authorization", b"x-request-id"):
            assert lookalikes.count(once) == 1
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        ours = {b"host", b"authorization", b"x-request-id", b"content-length", b"transfer-encoding"}
        assert not set(lookalikes) & (_NOT_END_TO_END - ours)


@SEARCH
@given(grammar.requests())
def test_segments_change_nothing(traffic: Traffic) -> None:
    """Segmentation changes neither which requests are forwarded nor their content."""
    at_once = list(_requests(traffic._replace(cuts=())))
    in_pieces = list(_requests(traffic))
    bytewise = list(_requests(traffic._replace(cuts=tuple(range(len(traffic.data))))))
    for other in (in_pieces, bytewise):
        assert [(sent.whole, left if sent.whole else 0) for _, sent, left in other] == [
            (sent.whole, left if sent.whole else 0) for _, sent, left in at_once
        ]
        for (_, one, _), (_, two, _) in zip(at_once, other, strict=True):
            if one.whole:
                assert readers.request_by_h11(one.out) == readers.request_by_h11(two.out)


@SEARCH
@given(grammar.requests())
def test_another_reader_reads_the_same_request(traffic: Traffic) -> None:
    """The C parser of aiohttp reads upstream what h11 reads, and no other client's request."""
    for rest, sent, left in _requests(traffic):
        if not sent.whole:
            continue
        upstream = readers.request_by_h11(sent.out)
        assert upstream is not None
        if not _repeats_a_singleton(upstream.fields):
            assert readers.requests_by_aiohttp(sent.out) == [upstream]
        theirs, ours = (
            readers.requests_by_aiohttp(rest[: len(rest) - left]),
            _read_as_client_sent_it(rest),
        )
        if theirs and ours is not None:
            assert [one._replace(fields=_folded(one.fields)) for one in theirs] == [
                ours._replace(left=0)
            ]
