"""The same for answers: the client gets the one answer that the API gave, or one that is not whole.

*Whatever bytes the API sends, either they are refused or break off, and nothing that reaches the
client reads like a whole answer; or h11 reads from them the status and content that it reads from
what reaches the client.* h11 is the more lenient one: what the proxy refuses (502) is not compared.
"""

import re
from typing import Final

import h11
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy.clients.register import ANYBODY
from proxy.forward import policy
from tests.fuzz import grammar, passage, readers
from tests.fuzz.grammar import Traffic
from tests.fuzz.profile import SEARCH
from tests.fuzz.readers import Reading

_METHODS: Final = st.sampled_from([b"GET", b"GET", b"POST", b"HEAD"])
_VERSIONS: Final = st.sampled_from([b"1.1", b"1.1", b"1.0"])
#: Fields that do not come back as they came, written down a second time.
_NOT_END_TO_END: Final = frozenset(
    (
        b"alt-svc access-control-allow-origin connection content-length keep-alive "
        b"proxy-authenticate proxy-connection te trailer transfer-encoding upgrade x-request-id"
    ).split()
)
_SPACE_BEFORE_COLON: Final = re.compile(rb"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+:")


def _asked(method: bytes, version: bytes) -> policy.Request:
    head = (
        b"%b / HTTP/%b\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
        % (method, version)
    )
    return policy.judge(policy.parse(head, passage.RULES), passage.RULES, ANYBODY)


def _given(traffic: Traffic, request: policy.Request) -> tuple[passage.Given, int]:
    api = passage.Api(traffic.segments())
    given_ = passage.run(passage.answer_one(api, request))
    event("returned" if given_.whole else "cut" if given_.out else "refused")
    return given_, api.left()


def _without_space_before_colons(data: bytes) -> bytes:
    """Return an answer as a proxy has to read it (RFC 9112 section 5.1); h11 refuses it."""
    heads = b""
    while True:
        head, end, data = data.partition(b"\r\n\r\n")
        heads += _SPACE_BEFORE_COLON.sub(rb"\1:", head) + end
        if not end or head[:10] not in {b"HTTP/1.0 1", b"HTTP/1.1 1"}:
            return heads + data


def _read_as_api_sent_it(data: bytes, method: bytes) -> Reading | None:
    try:
        return readers.response_by_h11(_without_space_before_colons(data), method, ended=True)
    except h11.RemoteProtocolError:
        if readers.is_h11_stricter(data):
            return None
        raise


@SEARCH
@example(
    grammar.Traffic(
        b"HTTP/1.1 204 No Content\r\nAccept: */*\r\nTransfer-Encoding : chunked\r\n\r\n", ()
    ),
    b"GET",
    b"1.1",
)
@given(grammar.answers(), _METHODS, _VERSIONS)
def test_the_client_reads_the_answer_that_the_api_gave(
    traffic: Traffic, method: bytes, version: bytes
) -> None:
    """Status, reason, content, end-to-end fields and the end are the same on both sides."""
    answer, left = _given(traffic, _asked(method, version))
    if not answer.whole:
        return
    client = readers.response_by_h11(answer.out, method, ended=not answer.keep_alive)
    assert client is not None
    assert client.left == 0
    api = _read_as_api_sent_it(traffic.data, method)
    if api is None:
        return
    assert (client.first, client.content) == (api.first, api.content)
    assert left == api.left
    assert readers.end_to_end(client.fields, _NOT_END_TO_END) == readers.end_to_end(
        api.fields, _NOT_END_TO_END
    )


@SEARCH
@given(grammar.answers(), _METHODS)
def test_a_broken_answer_never_looks_whole(traffic: Traffic, method: bytes) -> None:
    """Once an answer has begun, failure is an abort: no client reads a whole answer."""
    answer, _ = _given(traffic, _asked(method, b"1.1"))
    if answer.whole or not answer.out:
        return
    with pytest.raises(h11.RemoteProtocolError):
        readers.response_by_h11(answer.out, method, ended=True)


@SEARCH
@given(grammar.answers(), _METHODS, _VERSIONS)
def test_segments_change_nothing(traffic: Traffic, method: bytes, version: bytes) -> None:
    """The segments in which the API's bytes arrive change nothing for the client."""
    request = _asked(method, version)
    at_once, left = _given(traffic._replace(cuts=()), request)
    for cuts in (traffic.cuts, tuple(range(len(traffic.data)))):
        answer, left_over = _given(traffic._replace(cuts=cuts), request)
        assert answer.whole == at_once.whole
        assert answer.head == at_once.head
        if answer.whole:
            assert left_over == left
            ended = not answer.keep_alive
            assert readers.response_by_h11(
                answer.out, method, ended=ended
            ) == readers.response_by_h11(at_once.out, method, ended=ended)
