"""The headline: working, in part or not, why, what to do, and since when, from what calls get."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from proxy.admin import calls as module
from proxy.admin.calls import FAULTS, Calls, HeadlineState, Known
from proxy.admin.headline import CAUSES, Headline, judge
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.tokens import codes
from proxy.tokens.values import TokenFailure, TokenState, TokenStatus
from tests.clock import FakeClock
from tests.unit.made import FRESH
from tests.unit.made import RECORD as GOOD

IMPAIRED, NOT_WORKING = HeadlineState.IMPAIRED, HeadlineState.NOT_WORKING
WORKING = HeadlineState.WORKING
FAILURE = TokenFailure("refused", "20", "The username is wrong. Look there.", refused=True, at=7.0)


def bad(status: int, code: str | None = None, error: str | None = None) -> Record:
    """Make a call with such an answer or error."""
    return GOOD._replace(status=status, code=code, error=error)


class Desk:
    """Calls on a clock, a second apart, and the headline at any moment."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.known = Known()
        self.calls = Calls(self.clock, self.known)
        self.began = self.clock.wall()

    def get(self, *records: Record, times: int = 1, apart: float = 1.0) -> Desk:
        """Let these calls end, one after the other, so many times."""
        for record in itertools.chain.from_iterable(itertools.repeat(records, times)):
            self.clock.suspend(apart)
            self.calls.observe(record, self.clock.now())
        return self

    def wait(self, seconds: float) -> Desk:
        """Let time pass without a call."""
        self.clock.suspend(seconds)
        return self

    def headline(self, token: TokenStatus = FRESH, **known: Any) -> Headline:
        """Judge now."""
        found = dataclasses.replace(self.known, **known)
        return judge(token, self.calls.find(self.clock.now()), found)

    @property
    def state(self) -> HeadlineState:
        """The state now."""
        return self.headline().state


def busy() -> Desk:
    """Return a desk with very many good calls."""
    return Desk().get(GOOD, times=40, apart=0.1)


def states(desk: Desk, records: Iterable[Record]) -> list[HeadlineState]:
    """Return the state after each of the calls."""
    return [desk.get(record).state for record in records]


# --- all calls fail ----------------------------------------------------------------------------


def test_every_call_refused_is_not_working() -> None:
    """Code, meaning, next step, since when, and how many."""
    desk = Desk().get(bad(401, "40103"), times=45)
    found = desk.headline()
    assert found.state is NOT_WORKING
    assert found.text == (
        "Not working. Telenor answers every call with 401, code 40103: no API product found. "
        "Add the Mobile Subscription Order API to the app in the developer portal."
    )
    assert (found.failed, found.calls, found.since) == (45, 45, desk.began + 1)
    assert (found.status, found.code, found.error) == (401, "40103", None)


@pytest.mark.parametrize(("code", "known"), codes.GATEWAY.items())
def test_each_code_in_a_row_has_its_meaning_and_next_step(
    code: str, known: codes.GatewayCode
) -> None:
    """With 400 the application's content is wrong, so the connection is good."""
    found = Desk().get(bad(known.status, code), times=5).headline()
    assert found.state is (IMPAIRED if known.status == 400 else NOT_WORKING)
    assert f"{known.status}, code {code}: {known.meaning}." in found.what
    assert found.step == known.step or not known.step
    assert (found.why, found.todo) == (code, code) or not known.step


@pytest.mark.parametrize(
    ("record", "known", "todo", "words"),
    [
        (bad(403, "40301"), {"scope": "a"}, "scope", "Remove oauth.scope, or set"),
        (bad(403, "40301"), {}, "no_scope", "Ask Telenor which scope"),
        (bad(429), {}, "pace", "set pacing.requests_per_second, to 5 for a start"),
        (bad(500, "policies.ratelimit.QuotaViolation"), {}, "pace", "to 5 for a start"),
        (bad(429, "42902"), {"pace": 2.5}, "slower", "pacing.requests_per_second, which is 2.5."),
        (bad(429, error="http_request_denied"), {"pace": 2}, "paced", "_per_second (2) or"),
        (bad(429, error="http_request_denied"), {}, "paced", "_per_second (not set) or"),
    ],
)
def test_a_step_fits_the_settings(
    record: Record, known: dict[str, Any], todo: str, words: str
) -> None:
    """One way out, with the figure that is set."""
    found = Desk().get(record, times=3).headline(**known)
    assert found.todo == todo
    assert words in found.step


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504, 599])
def test_a_status_in_a_row_is_not_working_without_a_code(status: int) -> None:
    """With fitting words and a next step."""
    found = Desk().get(bad(status), times=3).headline()
    assert found.state is NOT_WORKING
    assert found.what.startswith(f"Telenor answers every call with {status}: ")
    assert found.step


def test_an_unknown_code_is_not_repeated() -> None:
    """It may be anything."""
    found = Desk().get(bad(403, "hunter2"), times=3).headline()
    assert "hunter2" not in str(found)
    assert found.what.startswith("Telenor answers every call with 403, a code that is not known: ")


@pytest.mark.parametrize("error", sorted(FAULTS))
def test_calls_without_an_answer_in_a_row_are_not_working(error: str) -> None:
    """Each error has a clause and a step."""
    found = Desk().get(bad(502, error=error), times=3).headline()
    assert found.state is NOT_WORKING
    assert found.cause == "fails.all"
    assert found.what.startswith("Every call fails: ")
    assert found.step
    assert found.error == error


REFUSED, BROKEN = bad(401, "40103"), bad(503)
#: What happened, and the state after it.
STATES = {
    "one refused connection": (Desk().get(bad(502, error="connection_refused")), NOT_WORKING),
    "one slow answer": (Desk().get(bad(504, error="http_response_timeout")), IMPAIRED),
    "two faults": (Desk().get(BROKEN, times=2), IMPAIRED),
    "three faults": (Desk().get(BROKEN, times=3), NOT_WORKING),
    "a short row on a busy proxy": (busy().get(BROKEN, times=4, apart=0.1), IMPAIRED),
    "the same after half a minute": (busy().get(BROKEN, times=4, apart=0.1).wait(31), NOT_WORKING),
    "a long row on a busy proxy": (busy().get(BROKEN, times=10, apart=0.1), NOT_WORKING),
    "refusals hours ago": (Desk().get(REFUSED, times=3).wait(7200), NOT_WORKING),
    "throttling hours ago": (Desk().get(bad(429, "42901"), times=3).wait(7200), IMPAIRED),
    "faults hours ago": (Desk().get(BROKEN, times=3).wait(7200), IMPAIRED),
    "a tenth of the calls fails": (Desk().get(*[GOOD] * 8, BROKEN, times=3).get(GOOD), IMPAIRED),
    "one call of many fails": (Desk().get(*[GOOD] * 30, BROKEN, GOOD), WORKING),
    "half of the calls fails": (Desk().get(BROKEN, GOOD, times=3), IMPAIRED),
    "the same a quarter of an hour ago": (
        Desk().get(BROKEN, GOOD, times=3).wait(901).get(GOOD),
        WORKING,
    ),
    "an answer about content ends a row": (Desk().get(*[REFUSED] * 5, bad(422)), IMPAIRED),
    "only content is refused": (Desk().get(bad(422), times=3), IMPAIRED),
    "content is accepted again": (Desk().get(bad(422), times=3).get(GOOD), WORKING),
    "only missing pages": (Desk().get(bad(404), times=3), NOT_WORKING),
    "many missing pages": (Desk().get(GOOD).get(bad(404), times=19), WORKING),
    "very many missing pages": (Desk().get(GOOD).get(bad(404), times=20), NOT_WORKING),
    "only missing rights": (Desk().get(bad(401, "40104"), times=3), NOT_WORKING),
    "many missing rights": (Desk().get(GOOD).get(bad(401, "40104"), times=19), WORKING),
    "very many missing rights": (Desk().get(GOOD).get(bad(401, "40104"), times=20), NOT_WORKING),
}


@pytest.mark.parametrize("case", STATES)
def test_the_state_follows_the_calls(case: str) -> None:
    """One fault may be an accident; a refusal stands; faults among good calls pass."""
    desk, state = STATES[case]
    assert desk.state is state


def test_one_success_ends_not_working() -> None:
    """In part at once, in full after ten good calls or five minutes."""
    desk = Desk().get(bad(401, "40103"), times=44).get(GOOD)
    found = desk.headline()
    assert found.state is IMPAIRED
    some = "Telenor answers some of the calls with 401, code 40103: no API product found."
    assert found.what == some
    assert (found.failed, found.calls) == (44, 45)
    assert desk.get(GOOD, times=9).state is WORKING
    desk = Desk().get(bad(401, "40103"), times=44).get(GOOD)
    recovered = desk.clock.wall()
    assert desk.wait(301).state is WORKING
    assert desk.headline().since == recovered


def test_the_most_frequent_fault_is_shown() -> None:
    """An answer about one path or content only without others."""
    row = [REFUSED, REFUSED, BROKEN, bad(404), bad(404), bad(404)]
    assert Desk().get(*row).headline().code == "40103"
    assert Desk().get(bad(422), times=3).headline().cause == "answers.content"


# --- some calls fail ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record", [bad(400), bad(404), bad(404, "4042000"), bad(409), bad(422), bad(401, "40104")]
)
def test_answers_about_one_call_change_nothing(record: Record) -> None:
    """They concern the application, as long as other calls succeed."""
    desk = Desk()
    assert set(states(desk, [GOOD, record, record, record, GOOD] * 20)) == {WORKING}


def test_only_refusals_of_the_proxy_are_impaired() -> None:
    """Beside forwarded calls they are not mentioned."""
    refused = GOOD._replace(status=400, error="malformed-request", refused=True)
    found = Desk().get(refused, times=3).headline()
    assert found.state is IMPAIRED
    assert found.cause == "fails.refused"
    assert "the request is not well-formed" in found.what
    assert Desk().get(GOOD).get(refused, times=30).state is WORKING
    assert Desk().get(refused, times=3).wait(901).state is WORKING


@pytest.mark.parametrize("kind", sorted(module.KEPT_OUT))
def test_an_application_that_is_kept_out_is_impaired_beside_good_calls(kind: str) -> None:
    """Until none has been refused for five minutes."""
    refused = GOOD._replace(status=403, error=kind, refused=True, client_address="10.0.0.7")
    desk = Desk().get(GOOD, times=5)
    assert set(states(desk, [refused, GOOD, refused])) == {WORKING}
    desk.get(refused, GOOD, GOOD, times=20)
    assert desk.headline().caller == "10.0.0.7"
    found = desk.get(refused._replace(client="erp")).headline()
    assert found.caller == "erp"
    assert (found.state, found.cause, found.error) == (IMPAIRED, "fails.kept_out", kind)
    assert found.what.startswith("The proxy itself turns calls of an application away (403): ")
    assert (found.failed, found.calls, found.since) == (23, 0, desk.began + 6)
    assert desk.wait(290).get(GOOD).headline().cause == "fails.kept_out"
    assert desk.wait(10).state is WORKING
    # The next ones begin a new row.
    assert desk.get(refused, times=2).state is WORKING


def test_a_missing_key_has_a_next_step() -> None:
    """Calls that fail at Telenor come first."""
    refused = GOOD._replace(status=403, error="client-key", refused=True)
    desk = Desk().get(GOOD, refused, times=3)
    assert desk.headline().text == (
        "Working in part. The proxy itself turns calls of an application away (403): the client "
        "key is missing or wrong. Give the application its key (listen.clients or "
        "listen.client_key); the log's lines with error client-key have its client_address."
    )
    assert desk.get(refused, bad(503), times=10).headline().cause == "answers.all"


@pytest.mark.parametrize(
    "kind", [kind for kind in ProblemKind if kind.is_company_proxy], ids=lambda kind: kind.type
)
def test_a_company_proxy_in_the_way_is_not_working_at_once(kind: ProblemKind) -> None:
    """The step names the proxy or its settings, not Telenor."""
    found = Desk().get(bad(kind.status, error=kind.word)).headline()
    assert (found.state, found.cause, found.error) == (NOT_WORKING, "fails.all", kind.type)
    assert "the company's proxy" in found.what
    assert "proxy" in found.step
    assert "Telenor" not in found.text


@pytest.mark.parametrize(
    "record",
    [
        bad(499, error="client_left"),
        bad(0, error="client_slow"),
        bad(503, error="destination_unavailable"),
    ],
)
def test_calls_that_did_not_reach_the_api_change_nothing(record: Record) -> None:
    """It neither begins a row nor ends one."""
    assert Desk().get(record, times=30).state is WORKING
    found = Desk().get(bad(401, "40103"), times=3).get(record, times=5).headline()
    assert (found.state, found.failed) == (NOT_WORKING, 3)


def test_memory_does_not_grow() -> None:
    """However many calls fail."""
    desk = Desk().get(bad(503), bad(404), GOOD, bad(401, "40103"), times=1000)
    assert len(desk.calls._window) == module.WINDOW


# --- the token ---------------------------------------------------------------------------------


def token(**changes: Any) -> TokenStatus:
    """Return the token's status with changes."""
    return dataclasses.replace(FRESH, **changes)


def test_all_is_well() -> None:
    """Before the first call the text claims no more than is known."""
    assert Desk().headline().text == (
        "Working. The access token is valid; no call has gone through yet."
    )
    assert Desk().get(GOOD).headline().text == (
        "Working. Calls go through to Telenor with a valid access token."
    )


def test_without_a_token_nothing_works() -> None:
    """In the words of the failure, since the first one if no call has failed."""
    desk = Desk().get(bad(503), times=5).get(GOOD)
    found = desk.headline(token(state=TokenState.EXPIRED, last_failure=FAILURE), token_failing=5.0)
    assert found.text == "Not working. The username is wrong. Look there."
    assert (found.state, found.since, found.code) == (NOT_WORKING, 5.0, "20")
    assert desk.headline(token(state=TokenState.EMPTY, last_failure=FAILURE)).since == 7.0


def test_since_calls_began_to_fail_though_the_token_failed_later() -> None:
    """The calls failed first, and none has succeeded since."""
    ended = token(state=TokenState.EXPIRED, last_failure=FAILURE)
    desk = Desk().get(GOOD, bad(502, error="connection_refused"), bad(503))
    began = desk.began + 2
    found = desk.wait(60).headline(ended, token_failing=began + 9, token_stopped=began + 30)
    assert found.since == began
    # A token that was gone before the first call failed: since then.
    assert desk.headline(ended, token_failing=began - 5, token_stopped=began - 1).since == began - 1


def test_since_the_first_call_that_failed_though_renewals_failed_before() -> None:
    """The old token was good for calls until its end."""
    desk = Desk().get(GOOD, times=30)
    no_token = bad(503, error=ProblemKind.NO_TOKEN.word)
    desk.get(no_token, times=3)
    ended = token(state=TokenState.EXPIRED, last_failure=FAILURE)
    assert desk.headline(ended, token_failing=desk.began + 5).since == desk.began + 31


def test_a_token_that_cannot_be_renewed_is_impaired() -> None:
    """Also waiting for one; failing calls come first, and a shutdown before all."""
    status = token(state=TokenState.STALE, last_failure=FAILURE)
    assert Desk().get(GOOD).headline(status).cause == "renewal_failed"
    assert Desk().get(GOOD).headline(status).state is IMPAIRED
    assert Desk().get(bad(503), times=2).headline(status).cause == "renewal_failed"
    assert Desk().get(bad(503), times=3).headline(status).cause == "answers.all"
    assert Desk().headline(token(state=TokenState.EMPTY, generation=0)).cause == "starting"
    assert Desk().headline(token(state=TokenState.EMPTY)).cause == "fetching"
    found = Desk().get(bad(503), times=5).headline(token(contended=True), draining=5.0)
    assert (found.state, found.cause) == (IMPAIRED, "draining")


def test_two_programs_on_one_machine_user_are_not_working() -> None:
    """Whatever some calls get, also during a fetch."""
    fight = {"contended": True, "contended_since": 9.0}
    for status in (token(**fight), token(**fight, state=TokenState.EMPTY)):
        found = Desk().get(GOOD, bad(401), times=5).headline(status)
        assert (found.state, found.cause, found.since) == (NOT_WORKING, "contended", 9.0)
        assert "another program logs in with the same machine user" in found.what


def test_a_log_that_loses_lines_is_impaired() -> None:
    """Failing calls and renewals come first."""
    full = "No space left on device"
    found = Desk().get(GOOD).headline(log_reason=full, log_lost=5.0)
    assert (found.state, found.cause) == (IMPAIRED, "log_lost")
    assert found.since == 5.0
    assert found.text == (
        "Working, but the log loses lines. Standard output cannot be written: No space left on "
        "device. Calls go on. Make room on its disk, or restart the program that reads it; orders "
        "to look up stay on the status page."
    )
    assert Desk().get(bad(503), times=3).headline(log_reason=full).cause == "answers.all"
    failing = token(last_failure=FAILURE)
    assert Desk().get(GOOD).headline(failing, log_reason=full).cause == "renewal_failed"


def test_words_of_a_failure_that_may_hold_anything_are_no_label() -> None:
    """A code outside the closed list is in no metric."""
    for code, closed in (("20", True), (None, True), ("1234567", False)):
        failure = dataclasses.replace(FAILURE, code=code)
        assert Desk().headline(token(last_failure=failure)).is_closed is closed


def test_every_headline_is_one_of_the_list() -> None:
    """With a cause of the list and whole sentences."""
    found = [
        Desk().get(bad(kind.status, error=kind.type)._replace(refused=True), times=3).headline()
        for kind in ProblemKind
    ]
    found += [Desk().get(bad(status), times=3).headline() for status in range(400, 600)]
    for each in found:
        assert each.cause in CAUSES
        assert each.what.endswith(".")
        assert each.step.endswith(".")
        assert "{" not in each.text
