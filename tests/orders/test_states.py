"""The rules of a record, as tables of cases."""

import pytest

from proxy.orders.states import Again, State, after_death, again, ending, has_end, may_forget
from tests.orders.made import ANSWER, record

FIRST = record("aa", "k")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        *(
            (status, None, State.ANSWERED)
            for status in (200, 201, 202, 204, 303, 304, 400, 403, 404, 409, 422)
        ),
        (400, "40001", State.ANSWERED),
        *((status, None, None) for status in (401, 425, 429)),
        (401, "40101", None),
        (429, "42902", None),
        (408, None, State.UNKNOWN),
        *((status, None, State.UNKNOWN) for status in (500, 502, 503, 504)),
        (500, "50001", State.UNKNOWN),
        (500, "50002", State.ANSWERED),
        (500, "50003", State.ANSWERED),
    ],
)
def test_what_an_answer_means(status: int, code: str | None, expected: State | None) -> None:
    """Answered, not acted on, or not known: by status, and by the gateway's code for a 5xx."""
    assert ending(status, code) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.RESERVED, Again.IN_FLIGHT),
        (State.SENT, Again.IN_FLIGHT),
        (State.ANSWERED, Again.REPLAYED),
        (State.UNKNOWN, Again.UNKNOWN),
    ],
)
def test_what_a_repetition_gets(state: State, expected: Again) -> None:
    """By the state of the first one; another order under the same key gets 422 in each state."""
    answer = ANSWER if state is State.ANSWERED else None
    found = FIRST._replace(state=state, answer=answer)
    assert again(found, FIRST.fingerprint) is expected
    assert again(found, b"other") is Again.REUSED


def test_an_answer_too_large_is_not_replayed() -> None:
    """The refusal gives its status instead."""
    found = FIRST._replace(state=State.ANSWERED, answer=ANSWER._replace(content=None))
    assert again(found, FIRST.fingerprint) is Again.ANSWERED


def test_what_a_dead_process_leaves() -> None:
    """What it had sent is unknown, what it had not is dropped, what was over stays."""
    assert [after_death(state) for state in State] == [
        None,
        State.UNKNOWN,
        State.ANSWERED,
        State.UNKNOWN,
    ]


def test_only_what_is_over_can_be_forgotten() -> None:
    """An order under way could be placed twice."""
    assert {state for state in State if may_forget(state)} == {State.ANSWERED, State.UNKNOWN}


def test_what_ends_with_time() -> None:
    """Never what was sent; what is unknown only where the guard remembers it."""
    assert {state for state in State if has_end(state, guarded=False)} == {
        State.RESERVED,
        State.ANSWERED,
    }
    assert {state for state in State if has_end(state, guarded=True)} == set(State) - {State.SENT}


def test_a_record_knows_its_owner() -> None:
    """It is the first part of its claim."""
    assert FIRST.owner == "aa"
