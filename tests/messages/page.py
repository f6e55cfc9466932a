"""docs/messages.md: the catalogue as a page that a search finds a message on. `make generate` writes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.errors import KINDS
from tests.messages import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.messages.catalogue import Message

NAMES: Final = [kind.name for kind in KINDS]

_HEAD: Final = """\
# Every message

What the proxy says when something is wrong, and some of what it says otherwise, word for word, so that a search finds it. `…` and `{name}`
stand for what is filled in. Each message says itself what to do; [troubleshooting](troubleshooting.md) has the rest.

This page is made from the code: `make generate` writes it.
"""

#: What stands below each heading.
_ABOUT: Final = {
    catalogue.CONFIGURATION: "On standard error, with [exit status 78](troubleshooting.md#it-ends-at-once-with-exit-status-78); at run "
    "time in `configuration.refused`.",
    catalogue.START: "On standard error, with [exit status 1](troubleshooting.md#it-ends-at-once-with-exit-status-1).",
    catalogue.CHECK: "What `telenor-proxy check` prints, by the step that it concerns.",
    catalogue.TOKEN: "`detail` of `token.renewal_failed`, by [code](troubleshooting.md#codes-of-the-token-endpoint) or "
    "[reason](troubleshooting.md#by-reason-of-a-failed-renewal); also in `no-token` answers, in `/readiness` and from `check`.",
    catalogue.ANSWERS: "`detail` of problem details, by their `type`; the first of each is the `title`.",
    catalogue.MALFORMED: "What stands for `…` in `malformed-request` and `upstream-answer-unreadable`.",
    catalogue.LOG: "`detail` of [events](operation.md#log) that are warnings or errors.",
    catalogue.READINESS: "What probes, `telenor-proxy healthcheck`, `telenor-proxy status` and `systemctl status` say.",
    catalogue.HEADLINE: "The sentence of the status page, of `/status`, of `telenor-proxy status` and of the alerts: "
    "[when it says so](troubleshooting.md#the-page-says-not-working-or-working-in-part).",
    catalogue.PAGE: "Further words of the [status page](operation.md#status-page) in English; it speaks Norwegian too.",
    catalogue.COMMANDS: "What the other commands say when they are not called rightly.",
}


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(line for group in _ABOUT for line in _section(group))])


def _section(group: str) -> Iterator[str]:
    yield f"## {group}\n\n{_ABOUT[group]}\n"
    yield "| about | message |"
    yield "|---|---|"
    said = [message for message in catalogue.CATALOGUE if message.group == group]
    if group == catalogue.ANSWERS:
        said.sort(key=lambda message: NAMES.index(message.about))
    for message in said:
        if "\n" not in message.text.strip():
            yield f"| {_subject(message)} | {_cell(message.text)} |"
    yield ""


def _subject(message: Message) -> str:
    if message.group == catalogue.ANSWERS:
        return f"[{message.about}](troubleshooting.md#{message.about})"
    is_name = re.fullmatch(r"[\w.\[\]]*[._][\w.\[\]]*|/\w+", message.about)
    return f"`{message.about}`" if is_name else message.about


def _cell(text: str) -> str:
    """Write a message so that Markdown shows it as it is."""
    plain = re.sub(r"([\\*<>|])", r"\\\1", text.strip())
    return plain.replace("[", "\\[")
