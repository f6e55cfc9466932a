"""Every message in the code says what happened and what to do next."""

import builtins
import re
from typing import Final

import aiohttp

from proxy.problems import ProblemKind
from proxy.settings.catalogue import SETTINGS
from tests.messages.sentences import HOLE, raised, warnings

#: Characters. The longest lists four credentials and where they are found.
SHORTEST, LONGEST = 20, 500

#: Verbs that a step begins with. A new one may be added; a message without any may not.
_STEPS: Final = (
    "add|ask|begin|call|check|choose|close|compare|contact|correct|count|create|encode|find|fix"
    "|give|have|indent|install|keep|let|look|lower|put|raise|remove|replace|report|restart|run"
    "|save|see|send|set|shorten|stop|take|try|turn|use|wait|write"
)
_STEP: Final = re.compile(rf"(?:^|[.;:,] |\b(?:or|and|otherwise) )(?:{_STEPS})\b", re.IGNORECASE)
_BY_ITSELF: Final = re.compile(r"by itself\.$")
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


def messages() -> list[str]:
    """Return the messages to clients, of the token, at the start, and in the log."""
    kinds = ("Refused", "Failed", "TokenUnavailable", "CredentialsRefused")
    found = {*raised(*kinds, argument=1), *raised("StartError")}
    found |= {logged.detail for logged in warnings() if logged.detail is not None}
    # A text with another one before or behind it is no message by itself.
    parts = re.compile(rf"^{HOLE}|({HOLE}|: )$")
    return sorted(text for text in found if not parts.search(text))


def faulty(is_good: re.Pattern[str]) -> list[str]:
    """Return the messages in which this is not found."""
    return [text for text in messages() if not is_good.search(text)]


def test_there_are_messages() -> None:
    """The search finds what the code says."""
    assert len(messages()) > 50


def test_every_answer_says_what_to_do() -> None:
    """Each answer of the proxy's own has a clause for when, and sentences for what to do."""
    for kind in ProblemKind:
        assert re.fullmatch(r"[a-z`].*[^.]", kind.when)
        assert re.fullmatch(r"[A-Z].*\.", kind.do)
        assert _STEP.search(kind.do), kind.do


def test_messages_are_sentences() -> None:
    """Each ends with a full stop."""
    assert faulty(re.compile(r"[^.]\.$")) == []
    assert [text for text in messages() if "  " in text] == []


def test_messages_are_neither_a_word_nor_a_page() -> None:
    """They fit into a line of a log, and say enough."""
    assert [text for text in messages() if not SHORTEST <= len(text) <= LONGEST] == []


def test_messages_name_the_next_step() -> None:
    """The reader has something to do, or learns that the proxy does it."""
    assert [
        text for text in messages() if not _STEP.search(text) and not _BY_ITSELF.search(text)
    ] == []


def test_messages_say_first_what_happened() -> None:
    """No message begins with an order."""
    assert [text for text in messages() if re.match(rf"(?:{_STEPS})\b", text, re.IGNORECASE)] == []


def test_no_message_speaks_python() -> None:
    """No class, no traceback, no None."""
    assert [text for text in messages() if _PYTHON.search(text)] == []
    assert [text for text in messages() if not _ERRORS.isdisjoint(re.findall(r"\w+", text))] == []


def test_the_settings_that_are_named_exist() -> None:
    """A message names no setting that there is not."""
    assert {name for text in messages() for name in _SETTING.findall(text)} <= SETTINGS.keys()


def test_every_warning_of_the_log_explains_itself() -> None:
    """An event above `info` has a `detail` in words."""
    assert len(list(warnings())) > 5
    assert [logged.event for logged in warnings() if "detail" not in logged.fields] == []
