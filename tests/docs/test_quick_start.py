"""The README's first minutes, as it promises them."""

import asyncio
import re
import shlex
import shutil
from collections.abc import Iterator

import pytest

import proxy
from proxy.clients.register import ANYBODY
from proxy.forward import policy, rewrite
from proxy.settings import load
from tests.docs.pages import BLOCKS, PAGES
from tests.docs.test_snippets import REQUIRED
from tests.e2e.process import DEADLINE, Starter


def http_blocks() -> Iterator[bytes]:
    """Yield the README's messages as they go over the wire."""
    for block in BLOCKS:
        if block[:2] == ("README.md", "http"):
            head, _, content = block.text.strip("\n").partition("\n\n")
            yield f"{head}\n\n".replace("\n", "\r\n").encode() + content.encode()


def test_a_request_changes_as_shown() -> None:
    """The proxy turns the shown request into the shown one, byte for byte."""
    before, after, _ = http_blocks()
    head, _, content = before.partition(b"\r\n\r\n")
    rules = policy.Rules.of(load(None, REQUIRED))
    request = policy.judge(policy.parse(head + b"\r\n\r\n", rules), rules, ANYBODY)
    assert request.framing == len(content)
    credential = b"Authorization: Bearer <the access token>\r\n"
    number = re.search(rb"X-Request-Id: (\S+)", after)
    assert number is not None
    rewritten = rewrite.request_head(request, b"api.telenor.no", number[1], credential)
    assert rewritten + content == after


@pytest.mark.skipif(shutil.which("curl") is None, reason="the command is curl's")
async def test_the_quick_start_works(start: Starter) -> None:
    """The curl command gets the shown answer, but for the date and the request id."""
    (command,) = (block.text for block in BLOCKS if block[:2] == ("README.md", "sh"))
    demo = await start(["demo", "--port", "0"])
    listener = (await demo.text(r"The proxy listens on (http://127\.0\.0\.1:\d+)"))[1]
    await demo.text(r"token\.renewed +expires_in")  # the log's; the welcome has the word as well
    words = shlex.split(command.replace("\\\n", "").replace("http://127.0.0.1:8080", listener))
    curl = await asyncio.create_subprocess_exec(
        *words, "--silent", "--noproxy", "*", stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE):
        said, _ = await curl.communicate()
    assert curl.returncode == 0
    *_, shown = http_blocks()
    assert parts(said) == parts(shown)
    await demo.text(r"POST \S+ 201 \S+ ms id=")
    assert await demo.stop() == 0


def parts(answer: bytes) -> tuple[dict[str, str], bytes]:
    """Return an answer's start line, fields and content, without date and request id."""
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {"": first} | {
        name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
    }
    assert fields["date"]
    assert fields["x-request-id"]
    return fields | {"date": "", "x-request-id": ""}, content


def test_the_version_is_that_of_the_changelog() -> None:
    """The changelog's newest entry is about the package's version."""
    newest = re.search(r"(?m)^## \[(.+?)\] - (Unreleased|\d{4}-\d\d-\d\d)$", PAGES["CHANGELOG.md"])
    assert newest is not None
    assert newest[1] == proxy.__version__
