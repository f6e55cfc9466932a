"""Every message helps a tired person: it says what happened and what to do next, and nothing that is not so.

The catalogue holds whatever the code says; a sentence in the code that it does not hold fails here.
"""

from __future__ import annotations

import builtins
import re
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy.errors import KINDS
from proxy.settings import syntax
from proxy.settings.catalogue import SETTINGS
from tests.docs.pages import PAGES, TROUBLESHOOTING, section, subsections
from tests.messages.catalogue import (
    ANSWERS,
    CATALOGUE,
    COMMANDS,
    CONFIGURATION,
    MALFORMED,
    PAGE,
    SENTINEL,
    START,
    Message,
)
from tests.messages.page import page
from tests.messages.sentences import HOLE, sentences, warnings

if TYPE_CHECKING:
    from collections.abc import Callable

#: What no person meets, or not as words of ours, and why.
NOT_MESSAGES: Final = {
    "the token task has ended": "an exception that means a mistake of ours; its traceback is what helps",
    "an https origin needs a TLS context": "the same",
    "an authority without a name": "stands in for a name in a finding of `check`",
    "(a message that could not be put together)": "stands in for what a library said",
    "(an exception that cannot be shown)": "the same",
    "(…: it cannot be shown)": "the same",
    "… … ms": "the beginning of a call's line on the console",
    **{
        beginning: "what PyYAML says, and nobody repeats"
        for beginnings, _ in syntax._MEANINGS
        for beginning in beginnings
    },
}

#: Characters. The shortest is about a name that is no setting; the longest lists four credentials and where they are found.
SHORTEST, LONGEST = 20, 500

#: Verbs that a step begins with. A new one may be added; a message without any may not.
_STEPS: Final = (
    "add|ask|begin|call|check|choose|close|compare|contact|correct|count|create|encode|find|give|have|indent|install|keep|let|look|lower|mend|put|raise"
    "|remove|replace|report|restart|run|save|see|send|set|shorten|stop|take|try|use|wait|write"
)
_STEP: Final = re.compile(rf"(?:^|[.;:,] |\b(?:or|and|otherwise) )(?:{_STEPS})\b", re.IGNORECASE)
#: Of a setting, what it has to be is the step; and some things the proxy does without anybody.
_REQUIREMENT: Final = re.compile(r": (?:must \w+|needs)\b|Did you mean [\w.]+(?: or [\w.]+)*\?$|by itself\.$")
_SETTING: Final = re.compile(
    rf"(?<![\w.])(?:{'|'.join(sorted({path.partition('.')[0] for path in SETTINGS}))})\.[a-z_]+"
)
_ERRORS: Final = {
    name
    for module in (builtins, aiohttp)
    for name in dir(module)
    if re.fullmatch(r"[A-Z]\w+(?:Error|Exception|Warning)", name)
}
_PYTHON: Final = re.compile(
    r"\b(?:Traceback|None|True|False|NoneType|object at 0x|[Ee]rrno|self\.|__\w+__)\b"
)


def whole() -> list[Message]:
    """Give the messages that stand alone: no titles, no clauses, nothing that argparse or the page puts into a sentence of its own."""
    titles = {kind.title for kind in KINDS}
    clauses = ("why.", "error.", "headline.")
    return [
        message
        for message in CATALOGUE
        if message.text not in titles
        and message.group not in {COMMANDS, MALFORMED}
        and not (message.group == PAGE and message.about.startswith(clauses))
        and not message.text.startswith(HOLE)
    ]


def trouble() -> list[Message]:
    """Give those of them that tell of something to be mended."""
    return [message for message in whole() if message.is_trouble]


def faulty(messages: list[Message], is_good: Callable[[Message], object]) -> list[str]:
    """Give the texts for which that is not so."""
    return [f"{message.about} | {message.text}" for message in messages if not is_good(message)]


# --- The catalogue ----------------------------------------------------------------------------------------------------


def test_every_sentence_of_the_code_is_in_the_catalogue() -> None:
    """What nobody has provoked has been read by nobody: a new message needs its provocation, or is said in a known way."""
    told = [message.text for message in CATALOGUE]
    assert len(told) > 400
    missing = [
        f"{sentence.where}, line {sentence.line}: {sentence.text}"
        for sentence in sentences()
        if sentence.text not in NOT_MESSAGES and not any(map(sentence.pattern.search, told))
    ]
    assert missing == []


def test_no_exception_is_left_over() -> None:
    """What is listed as no message still stands in the code."""
    assert NOT_MESSAGES.keys() <= {sentence.text for sentence in sentences()} | {
        beginning for beginnings, _ in syntax._MEANINGS for beginning in beginnings
    }


def test_every_answer_has_words_and_a_section() -> None:
    """Each type of problem details has a text, and its section in the troubleshooting page."""
    told = {message.about for message in CATALOGUE if message.group == ANSWERS and message.is_trouble}
    # What is said there is why there is no token.
    assert told | {"no-token"} == {kind.name for kind in KINDS}
    assert told | {"no-token"} == subsections(section(TROUBLESHOOTING, "By answer of the proxy")).keys()


def test_the_page_of_messages_is_current() -> None:
    """docs/messages.md is what `make generate` would write now."""
    assert PAGES["docs/messages.md"] == page()


# --- What each message has to be --------------------------------------------------------------------------------------


def test_messages_are_sentences() -> None:
    """Each ends with a full stop, or with the name that was probably meant."""
    good = re.compile(r"[^.]\.$|[\w\]]\.\.\.\.$|Did you mean .*\?$|\{\w+\}\.$")
    assert faulty(whole(), lambda message: good.search(message.text) and "  " not in message.text) == []


def test_messages_are_neither_a_word_nor_a_page() -> None:
    """They fit into a line of a log, and say enough."""
    assert faulty(whole(), lambda message: len(message.text) <= LONGEST) == []
    assert faulty(trouble(), lambda message: len(message.text) >= SHORTEST) == []


def test_trouble_names_the_next_step() -> None:
    """Whoever reads it at night has something to do, or learns that the proxy does it."""
    assert (
        faulty(trouble(), lambda message: _STEP.search(message.text) or _REQUIREMENT.search(message.text))
        == []
    )


def test_trouble_says_first_what_happened() -> None:
    """No message begins with an order: who does not know what happened cannot judge what to do. On the page it stands in two lines."""

    def begins_well(message: Message) -> bool:
        text = message.text.partition(": ")[2] if message.group in {CONFIGURATION, START} else message.text
        return message.group == PAGE or not re.match(rf"(?:{_STEPS})\b", text, re.IGNORECASE)

    assert faulty(trouble(), begins_well) == []


def test_no_message_shows_a_secret() -> None:
    """Everything in the catalogue was provoked with secrets that are easy to find."""
    assert faulty(list(CATALOGUE), lambda message: SENTINEL not in message.text) == []


def test_no_message_speaks_python() -> None:
    """No class, no traceback, no None. Only who is to report a mistake of the proxy's gets the name of the exception with it."""

    def is_plain(message: Message) -> bool:
        is_report = "Report it to the project" in message.text
        return not _PYTHON.search(message.text) and (
            is_report or _ERRORS.isdisjoint(re.findall(r"\w+", message.text))
        )

    assert faulty(list(CATALOGUE), is_plain) == []


def test_the_settings_that_are_named_exist() -> None:
    """Nobody is sent to look for a setting that there is not; except for the one that is told to be none."""

    def are_known(message: Message) -> bool:
        own = {message.text.partition(":")[0]} if "is not a setting" in message.text else set()
        return set(_SETTING.findall(message.text)) <= SETTINGS.keys() | own

    assert faulty(list(CATALOGUE), are_known) == []


def test_what_is_to_be_compared_is_named() -> None:
    """Whoever reads one line of a log cannot know which two "both" are, unless they stand in it; on the page they stand a line above."""

    def are_named(message: Message) -> bool:
        both = re.search(r"\bcompare both\b", message.text, re.IGNORECASE)
        return message.group == PAGE or both is None or len(set(_SETTING.findall(message.text))) > 1

    assert faulty(whole(), are_named) == []


def test_every_warning_of_the_log_explains_itself() -> None:
    """An event above `info` has a `detail` in words. The access line has none: its `error` is explained in the pages."""
    assert len(list(warnings())) > 5
    assert [logged.event for logged in warnings() if not logged.has_detail] == []
