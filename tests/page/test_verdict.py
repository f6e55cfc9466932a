"""The page's verdict for each state, in both languages, and its notes."""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.admin.calls import FAULTS
from proxy.network import certificates
from proxy.settings import load
from proxy.tokens import codes, diagnosis
from proxy.tokens.values import TokenFailure, TokenState
from tests.messages.sentences import reasons
from tests.page.browser import Tab
from tests.page.staged import ENVIRONMENT, NOON, Stage, refused
from tests.page.test_page_document import ASSETS
from tests.page.test_words import BY_OTHER_WORDS, WORDS

SCRIPT = "".join((ASSETS / name).read_text("utf-8") for name in ("words.js", "verdict.js"))
#: What a sentence has where a value is missing.
GAP = re.compile(r"\{|undefined|NaN|null|function")
NONE: dict[str, Any] = {"state": TokenState.EMPTY, "expires_in_seconds": None}


async def judge(
    tab: Tab, statuses: list[dict[str, object]], language: str = "en", *, silent: bool = False
) -> list[dict[str, str]]:
    """Return the page's verdicts, with plain spaces, the facts at the end of the sentence."""
    judged = f"verdict(status, say, {json.dumps(silent)}, {NOON})"
    facts = '""' if silent else "facts(status, say)"
    found = await spoken(
        tab,
        f"{json.dumps(statuses)}.map((status) => ({{ facts: {facts}, ...{judged} }}))",
        language,
    )
    verdicts = [{name: plain(text) for name, text in each.items()} for each in found]
    for each in verdicts:
        each["sentence"] = f"{each['sentence']} {each.pop('facts')}".strip()
    return verdicts


def plain(text: str) -> str:
    """Return a text without the spaces that do not break."""
    return text.replace("\u00a0", " ")


async def noted(
    tab: Tab, statuses: list[dict[str, object]], language: str = "en"
) -> list[list[str]]:
    """Give the page's notes."""
    asked = f"{json.dumps(statuses)}.map((status) => notes(status, say))"
    found: list[list[str]] = await spoken(tab, asked, language)
    return found


async def spoken(tab: Tab, expression: str, language: str) -> Any:
    """Evaluate an expression in which `say` speaks that language, in Oslo."""
    locale = {"en": "en-GB", "nb": "nb-NO"}[language]
    reader = {"language": language, "locale": locale, "timeZone": "Europe/Oslo"}
    return await tab.evaluate(
        f"""(() => {{
            {SCRIPT}
            const say = speaker({json.dumps(WORDS)}, {json.dumps(reader)});
            return {expression};
        }})()"""
    )


def status(
    *,
    draining: bool = False,
    listen: Mapping[str, str] | None = None,
    stage: Mapping[str, Any] | None = None,
    **token: Any,
) -> dict[str, object]:
    """Return the status of a proxy on such a stage, with such settings and such a token."""
    made = Stage(**(stage or {}))
    made.report.draining = draining
    made.report.settings = load(None, ENVIRONMENT | variables(listen or {}))
    made.token_is(**token)
    return made.report.status()


def variables(listen: Mapping[str, str]) -> dict[str, str]:
    """Return settings of the listener as environment variables."""
    return {f"TELENOR_PROXY_LISTEN__{name.upper()}": value for name, value in listen.items()}


def called(*records: tuple[int, dict[str, Any]]) -> dict[str, object]:
    """Give the status of a proxy whose last calls ended like that, ten seconds apart, until now."""
    stage = Stage()
    stage.clock.suspend(-10 * len(records))
    for status_code, changes in records:
        stage.clock.suspend(10)
        stage.call(status_code, **changes)
    return stage.report.status()


def troubled(status_code: int, calls: int, **changes: Any) -> dict[str, object]:
    """Give the status of a proxy whose last calls failed."""
    return called(*[(status_code, changes)] * calls)


#: The token's state when its endpoint cannot be reached.
UNREACHABLE: dict[str, Any] = {
    **NONE,
    "last_failure": TokenFailure("connect", None, "English.", refused=False, at=NOON - 8),
    "next_attempt_in_seconds": 12.0,
}
#: The words of the verdicts and notes below, by name.
EXPECTED = yaml.safe_load(Path(__file__).with_name("verdicts.yaml").read_text("utf-8"))
FULL = "No space left on device"
DRAINING = status(draining=True, stage={"clients": {"connections": 3, "in_flight": 2}})
STATES: dict[str, dict[str, Any]] = {
    "no call yet": status(),
    "working": called((201, {})),
    "every call refused": troubled(401, 45, code="40103"),
    "some calls refused": called(*[(401, {"code": "40103"})] * 3, (201, {})),
    "an unknown code": troubled(403, 3, code="made-up"),
    "API out of reach": troubled(502, 1, error="connection_refused"),
    "one slow call": troubled(504, 1, error="http_response_timeout"),
    "starting": status(**NONE, generation=0, next_attempt_in_seconds=0.0),
    "rejected": status(**NONE, next_attempt_in_seconds=0.0),
    "refused": status(
        stage={"watched": True}, **NONE, last_failure=refused(), next_attempt_in_seconds=100.0
    ),
    "refused on another day": status(
        **NONE, last_failure=refused(at=NOON - 86_400), next_attempt_in_seconds=100.0
    ),
    "refused while the old token lasts": status(
        last_failure=refused(), next_attempt_in_seconds=40.0, expires_in_seconds=280.0
    ),
    "token endpoint out of reach": status(**UNREACHABLE),
    "contended": status(contended=True),
    "an application without its key, beside one that works": called(
        *[(200, {}), (403, {"error": "client-key", "refused": True, "client_address": "10.0.0.7"})]
        * 3
    ),
    "the log loses lines": status(stage={"log": {"lost": 3, "reason": FULL}}),
    "draining": DRAINING,
}
PROBLEMS = ["oauth.scope: English words.", "limits: more.", "upstream.allowed_paths[0]: x"]
NOTED: dict[str, dict[str, object]] = {
    "refused settings": status(stage={"configuration": {"refused": PROBLEMS}}),
    "a refused file": status(stage={"configuration": {"refused": ["The file x is no YAML."]}}),
    "a restart is needed": status(
        stage={"configuration": {"restart_needed": ["listen.port", "upstream.ca_file"]}}
    ),
    "an open listener": status(listen={"host": "0.0.0.0"}),
    "the log loses lines": status() | {"log": {"lost": 3, "reason": FULL}},
    "lines were lost": status() | {"log": {"lost": 3, "reason": None}},
    "too few descriptors": status()
    | {"limits": {"descriptors": 256, "clients": 92, "upstream": 100, "detail": "English."}},
}


async def test_notes(tab: Tab) -> None:
    """In both languages; they do not change the verdict."""
    statuses = list(NOTED.values())
    for language in ("en", "nb"):
        expected = [[EXPECTED["notes"][name][language]] for name in NOTED]
        assert await noted(tab, statuses, language) == expected
    assert {verdict["level"] for verdict in await judge(tab, statuses)} == {"ok"}
    assert await noted(tab, [status() | {"limits": {"detail": None}, "log": {"lost": 0}}]) == [[]]


@pytest.mark.parametrize(
    ("days", "standing", "is_urgent", "says"),
    [
        (20, "good", False, None),
        (10, "soon", False, "The listener's certificate ends in 10 d;"),
        (2, "urgent", True, "The listener's certificate ends in 2 d;"),
        (-1, "ended", True, "The listener's certificate has ended;"),
    ],
)
async def test_a_certificate_that_ends_is_a_note_and_then_a_problem(
    tab: Tab, days: int, standing: str, says: str | None, *, is_urgent: bool
) -> None:
    """A note from 14 days on, a problem from 3 days on, as the proxy judges."""
    end = NOON + days * 86400
    assert certificates.standing(end, NOON) == standing
    certificate = {"what": "listener", "not_after": end, "standing": standing}
    shown = json.dumps(status() | {"certificates": [certificate]})
    urgent, noted = await spoken(tab, f"[endings({shown}, say, true), notes({shown}, say)]", "en")
    found, others = (urgent, noted) if is_urgent else (noted, urgent)
    assert [plain(text)[: len(says or "")] for text in found] == ([says] if says else [])
    assert others == []


async def test_the_page_says_what_the_proxy_says(tab: Tab) -> None:
    """The English words are those of `telenor-proxy status` and of the alert, with the facts."""
    verdicts = await judge(tab, list(STATES.values()))
    for (name, shown), found in zip(STATES.items(), verdicts, strict=True):
        headline, expected = shown["headline"], EXPECTED["verdicts"][name]
        title, what, step = (headline[key] for key in ("title", "what", "step"))
        assert headline["text"] == f"{title}. {what} {step}".strip()
        assert (found["level"], found["title"]) == (expected["level"], title), name
        assert found["sentence"] == f"{what} {expected.get('facts', '')}".strip()
        assert found["step"] == f"{step} {expected.get('next', '')}".strip()


async def test_each_state_has_its_verdict_in_norwegian(tab: Tab) -> None:
    """Level, title, sentence and next step."""
    verdicts = await judge(tab, list(STATES.values()), "nb")
    for name, found in zip(STATES, verdicts, strict=True):
        expected = {"step": "", **EXPECTED["verdicts"][name]}
        for key in ("level", "title", "sentence", "step"):
            assert found[key] == expected[key], name


async def test_a_proxy_that_does_not_answer(tab: Tab) -> None:
    """Alarming, unless it was shutting down; with the time of the last answer."""
    gone, ended = await judge(tab, [status(), DRAINING], silent=True)
    assert gone["level"] == "bad"
    assert gone["title"] == "The proxy does not answer"
    assert gone["sentence"] == "Its last answer came at 10:12."
    assert ended["level"] == "off"
    assert ended["title"] == "Shut down"
    (never,) = await judge(tab, [None], "nb", silent=True)  # type: ignore[list-item] # no answer yet
    assert never["sentence"] == "Den har ikke svart siden denne siden ble åpnet."


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [
        ({"host": "::"}, True),
        ({"host": "10.0.0.5"}, True),
        ({"host": "localhost"}, False),
        ({"host": "127.0.0.9"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0", "client_key": "made-up-key"}, False),
        ({"unix_socket": "listener"}, False),
    ],
)
async def test_only_an_open_listener_is_warned_of(
    tab: Tab, listen: dict[str, str], *, is_open: bool
) -> None:
    """Loopback, a Unix socket and a client key keep others out, as in the settings."""
    (found,) = await noted(tab, [status(listen=listen)])
    assert bool(found) is is_open
    assert load(None, ENVIRONMENT | variables(listen)).listen.is_open is is_open


async def test_a_bad_token_matters_more_than_bad_calls(tab: Tab) -> None:
    """Without a token no call reaches the API."""
    stage = Stage()
    for _ in range(3):
        stage.call(502, error="dns_error")
    stage.token_is(**UNREACHABLE)
    (verdict,) = await judge(tab, [stage.report.status()], "nb")
    assert "hente et tilgangstoken" in verdict["sentence"]


async def test_each_failed_login_has_sentences_in_both_languages(tab: Tab) -> None:
    """Every code, reason and HTTP status, with and without a token."""
    codes = [*diagnosis._KNOWN, "999", "access_denied", "constructor", None]
    words = [*(reasons() - BY_OTHER_WORDS), "rate_limited", "toString"]
    words += [f"http_{number}" for number in (404, 418, 500, 503)]
    failures = [
        *(refused(code) for code in codes),
        *(TokenFailure(word, None, "English.", refused=False, at=NOON - 60) for word in words),
    ]
    states: list[dict[str, Any]] = [
        *({"state": state} for state in (TokenState.EXPIRED, TokenState.STALE)),
        NONE,
    ]
    statuses = [
        status(**state, last_failure=failure, next_attempt_in_seconds=pause)
        for failure, state, pause in itertools.product(failures, states, (0.0, 30.0))
    ]
    english, norwegian = await judge(tab, statuses), await judge(tab, statuses, "nb")
    for one, other in zip(english, norwegian, strict=True):
        for verdict in (one, other):
            text = " ".join(verdict.values())
            assert not GAP.search(text), text
            assert verdict["sentence"].endswith(".")
            assert verdict["step"].endswith(".")
        assert "English" not in " ".join(other.values())
        assert one["level"] == other["level"]
        assert one["sentence"] != other["sentence"]
        assert one["step"] != other["step"]


async def test_each_failed_call_has_sentences_in_both_languages(tab: Tab) -> None:
    """Each code, status and error, in a row, in part and once."""
    answers: list[tuple[int, dict[str, Any]]] = [
        *((known.status, {"code": code}) for code, known in codes.GATEWAY.items()),
        *((status_code, {}) for status_code in (400, 401, 403, 404, 429, 500, 503)),
        *((502, {"error": error}) for error in FAULTS),
        (403, {"error": "client-key", "refused": True}),
        (429, {"error": "http_request_denied"}),
    ]
    statuses = [
        called(*calls)
        for answer in answers
        for calls in ([answer] * 3, [(200, {}), answer, answer, (200, {})], [answer])
    ]
    english, norwegian = await judge(tab, statuses), await judge(tab, statuses, "nb")
    for one, other in zip(english, norwegian, strict=True):
        assert one["level"] == other["level"]
        for name in ("title", "sentence", "step"):
            assert one[name] != other[name] or not one[name]
            assert not GAP.search(other[name]), other
        assert one["sentence"].endswith(".")
        assert other["sentence"].endswith(".")


async def test_languages_are_chosen_as_the_browser_prefers(tab: Tab) -> None:
    """The first known one; all kinds of Norwegian are one; English for all others."""
    wishes = [["nb-NO"], ["nn"], ["no"], ["sv-SE", "nb"], ["en-US", "nb"], ["de"], [], ["EN-us"]]
    choose = f"{json.dumps(wishes)}.map((wish) => chooseLanguage(wish).language)"
    chosen = await tab.evaluate(f"(() => {{ {SCRIPT} return {choose}; }})()")
    assert chosen == ["nb", "nb", "nb", "nb", "en", "en", "en", "en"]


NUMBERS = [
    ("say.countdown(59.9)", "0:59", "0:59"),
    ("say.countdown(3723)", "1:02:03", "1:02:03"),
    ("say.countdown(-1)", "0:00", "0:00"),
    ("say.duration(0)", "0 s", "0 s"),
    ("say.duration(7265)", "2 h 1 min", "2 t 1 min"),
    ("say.duration(273600)", "3 d 4 h", "3 d 4 t"),
    ("say.latency(null)", "\u2013", "\u2013"),
    ("say.latency(0.0042)", "4.2 ms", "4,2 ms"),
    ("say.latency(0.183)", "180 ms", "180 ms"),
    ("say.latency(1.25)", "1.3 s", "1,3 s"),
    ("say.count(1234567)", "1,234,567", "1 234 567"),
]


async def test_numbers_are_written_as_the_reader_does(tab: Tab) -> None:
    """Durations, latencies and counts."""
    expressions = ", ".join(expression for expression, _, _ in NUMBERS)
    for column, language, locale in ((1, "en", "en-GB"), (2, "nb", "nb-NO")):
        spoken = json.dumps({"language": language, "locale": locale})
        say = f"speaker({json.dumps(WORDS)}, {spoken})"
        written = await tab.evaluate(
            f"(() => {{ {SCRIPT} const say = {say}; return [{expressions}]; }})()"
        )
        assert [plain(text) for text in written] == [row[column] for row in NUMBERS]
