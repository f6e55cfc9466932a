"""The commands on the pages exist."""

import re
import shlex
from pathlib import PurePosixPath

import pytest

from proxy import cli
from tests.docs.pages import BLOCKS, PAGES, ROOT, inline, rows, section

TARGETS = set(
    re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)
#: What stands for something else in a synopsis.
STAND_INS = {"FILE": "config.yaml", "SECONDS": "1", "PORT": "1", "COMMAND": "serve", "HOST": "::1"}


def typed() -> set[str]:
    """Return every line that may be typed: of shell code, of unit files, and inline."""
    lines = {
        line.partition("=")[2] if line.startswith("Exec") else line
        for block in BLOCKS
        if block.language in {"", "sh", "ini"}
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines()
    }
    return lines | {code for text in PAGES.values() for code in inline(text)}


def words_after(program: str) -> list[list[str]]:
    """Return the words after a program's name, for each call that has some."""
    found = []
    for line in sorted(typed()):
        if program not in line:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # no shell code
            continue
        places = [index for index, word in enumerate(words) if PurePosixPath(word).name == program]
        if places and words[places[-1] + 1 :]:
            found.append(words[places[-1] + 1 :])
    return found


def parsed(words: list[str]) -> object:
    """Return the exit status of the parser, None if the words are a command."""
    try:
        cli.command_line(words[0]).parse_args(words)
    except SystemExit as stop:
        return stop.code
    return None


@pytest.mark.parametrize("words", words_after("telenor-proxy"), ids=" ".join)
def test_a_command_is_one(words: list[str]) -> None:
    """The command line's own parser takes it; a command's name alone stands for the command."""
    plain = [STAND_INS.get(word.strip("[]"), word.strip("[]")) for word in words]
    assert plain == ["sandbox-control"] or parsed(plain) in {None, 0}  # 0: --help and --version


def test_there_are_commands_to_check() -> None:
    """The search finds the calls: every command is shown somewhere."""
    shown = {words[0] for words in words_after("telenor-proxy")}
    commands = {"serve", "check", "healthcheck", "sandbox", "sandbox-control", "demo"}
    assert shown >= commands | {"--version"}


def test_the_reference_lists_every_command() -> None:
    """The table of commands has one row for each that the parser knows."""
    listed = {
        re.sub(r"^`telenor-proxy (\S+?)[ `].*", r"\1", row[0])
        for row in rows(section(PAGES["docs/reference.md"], "Commands"))
    }
    actions = cli.command_line("sandbox")._actions
    assert listed == set(next(action.choices for action in actions if action.choices))


def test_each_target_of_make_is_one() -> None:
    """`make X` names a target of the Makefile."""
    words = {word for words in words_after("make") for word in words}
    asked = {word for word in words if re.fullmatch(r"[^-=.][^=]*", word)}
    assert asked >= {"demo", "image", "test"}
    assert asked <= TARGETS
