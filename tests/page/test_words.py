"""The page's dictionary: both languages have all words."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import proxy
from proxy.admin import headline
from proxy.admin.calls import HeadlineState
from proxy.admin.headline import CAUSES
from proxy.problems import ProblemKind
from proxy.tokens import codes, diagnosis
from proxy.tokens.values import TokenState
from tests.messages.sentences import reasons

PACKAGE = Path(proxy.__file__).parent
ASSETS = PACKAGE / "admin" / "assets"
WORDS: dict[str, dict[str, Any]] = json.loads((ASSETS / "words.json").read_text("utf-8"))
SOURCES = {
    path.name: path.read_text("utf-8")
    for path in ASSETS.iterdir()
    if path.suffix in {".js", ".html"}
}
LANGUAGES = ("en", "nb")
#: What the proxy says in English by itself, in Norwegian.
SAID: dict[str, str] = WORDS["said"]

#: Names and numbers that are the same in both languages.
SAME = {
    "about.python",
    "latency.p50",
    "result.2xx",
    "result.3xx",
    "since.today",
    "unit.d",
    "unit.min",
    "unit.ms",
    "unit.s",
}
#: Words whose keys the scripts put together.
FAMILIES = (
    "error.",
    "result.",
    "token.state.",
    "unit.",
    "at.",
    "certificates.",
    "ends.",
    "since.",
    "latency.p",
)


def texts(language: str) -> dict[str, str]:
    """Give all texts; of those with two forms, both in one."""
    return {
        key: text if isinstance(text, str) else " | ".join(text.values())
        for key, text in WORDS[language].items()
    }


def test_both_languages_have_the_same_words() -> None:
    """The same keys, with the same places for values, and as many forms."""
    english, norwegian = texts("en"), texts("nb")
    assert english.keys() == norwegian.keys()
    for key, text in english.items():
        places = set(re.findall(r"\{(\w+)\}", text))
        assert set(re.findall(r"\{(\w+)\}", norwegian[key])) == places, key
        assert isinstance(WORDS["en"][key], str) == isinstance(WORDS["nb"][key], str), key


def test_no_word_is_in_english_only() -> None:
    """A text that is the same in both is a name or a number, and listed here."""
    english, norwegian = texts("en"), texts("nb")
    assert {key for key, text in english.items() if text == norwegian[key]} == SAME


def test_plurals_have_both_forms() -> None:
    """One and other, the forms of both languages."""
    for language in LANGUAGES:
        for key, text in WORDS[language].items():
            if isinstance(text, dict):
                assert set(text) == {"one", "other"}, key


def test_every_error_code_of_the_token_endpoint_has_a_cause() -> None:
    """Those that `diagnose` knows, no more and no less; each cause says why and what to do."""
    assert WORDS["codes"].keys() == diagnosis._KNOWN.keys()
    for cause in {*WORDS["codes"].values(), "unnamed"}:
        assert f"why.{cause}" in SAID
        assert f"do.{cause}" in SAID


def test_codes_that_mean_the_same_have_one_cause() -> None:
    """Two codes share words here exactly if they share a diagnosis there, advice aside."""
    for one, said in diagnosis._KNOWN.items():
        for other, also in diagnosis._KNOWN.items():
            same = WORDS["codes"][one] == WORDS["codes"][other]
            assert same == (said.meaning == also.meaning) or {one, other} <= {"40105", "40106"}, (
                one,
                other,
            )


#: pending: no fetch has failed. The others have words by code, and by status.
BY_OTHER_WORDS = {"pending", "refused", "rate_limited", "http_"}


def test_every_reason_has_words() -> None:
    """Each has a why, and in the script's table a step."""
    table = re.search(r"AFTER_REASON = \{(.*?)\}", SOURCES["verdict.js"], re.DOTALL)
    assert table is not None
    steps = dict(re.findall(r"(\w+): \"(\w+)\"", table[1]))
    assert "timeout" in reasons()
    for reason in reasons() - BY_OTHER_WORDS:
        assert reason in steps, reason
    for reason, step in steps.items():
        assert f"why.{reason}" in SAID
        assert f"do.{step}" in SAID


def test_every_headline_has_words() -> None:
    """Causes, states, codes, statuses and errors have their words."""
    others = {"token_failed", "renewal_failed"}  # by code or reason, as above
    assert {f"what.{cause}" for cause in CAUSES if cause not in others} == keys("what.")
    assert {f"title.{state}" for state in HeadlineState} <= keys("title.")
    names = {*codes.GATEWAY, *map(str, headline.BY_STATUS)}
    assert {f"meaning.{name}" for name in names} == keys("meaning.")
    by_settings = {"40301", "429", "42901", "42902"}
    steps = {*names, *headline._STEPS, "draining", "contended", "log_lost"} - by_settings
    assert {f"step.{name}" for name in steps} == keys("step.")
    assert {f"error.{error}" for error in headline._BY_ERROR} <= WORDS["nb"].keys()


def keys(family: str) -> set[str]:
    """Give the keys of a family of what the proxy says."""
    return {key for key in SAID if key.startswith(family)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_way_in_which_a_request_fails_has_words(language: str) -> None:
    """The names of the proxy's own answers, their types of RFC 9209, and what clients do."""
    names = (
        {kind.type for kind in ProblemKind}
        | {kind.proxy_error for kind in ProblemKind}
        | {"client_left", "client_slow"}
    )
    assert {name for name in names if f"error.{name}" not in WORDS[language]} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_of_the_token_has_words(language: str) -> None:
    """For its badge."""
    assert {f"token.state.{state}" for state in TokenState} <= WORDS[language].keys()


def test_what_the_page_asks_for_is_there() -> None:
    """Every key that stands in the scripts or the document."""
    asked = {key for text in SOURCES.values() for key in re.findall(r'\bt\(\s*"([\w.-]+)"', text)}
    asked |= set(re.findall(r'data-words="([^"]+)"', SOURCES["page.html"]))
    assert len(asked) > 50
    assert asked <= WORDS["en"].keys() | SAID.keys()


def test_no_words_are_left_over() -> None:
    """What no script and no element asks for is not kept."""
    everything = "".join(SOURCES.values())
    families = ("what.", "title.", "meaning.", "step.", "answer.", "why.", "do.", "say.refused.")
    assert [
        key for key in SAID if f'"{key}"' not in everything and not key.startswith(families)
    ] == []
    for key in WORDS["en"]:
        assert (
            f'"{key}"' in everything
            or key.startswith(FAMILIES)
            or f"`{key.rpartition('.')[0]}." in everything
        ), key
