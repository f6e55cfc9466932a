"""`make audit`: what is asked, and what becomes of the answer.

A stand-in on loopback answers in OSV's place.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiohttp import web
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.repository import ROOT
from tests.ports import held_port

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_aiohttp.plugin import AiohttpServer

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="the command is make's")


class Osv:
    """Knows of these faults, by package, and keeps what it was asked about: `(package, version)`."""

    def __init__(self) -> None:
        self.faults: dict[str, dict[str, Any]] = {}
        self.asked: set[tuple[str, str]] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one question."""
        question = await request.json()
        name = question["package"]["name"]
        self.asked.add((name, question["version"]))
        fault = self.faults.get(name)
        return web.json_response({"vulns": [fault]} if fault else {})


class Audit(NamedTuple):
    """How it ended."""

    status: int
    said: str


@pytest.fixture
async def osv(aiohttp_server: AiohttpServer) -> Osv:
    """Answer on a port of its own."""
    made = Osv()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.answer)
    server = await aiohttp_server(app, access_log=None)
    made.url = str(server.make_url(""))
    return made


async def audit(osv: Osv, directory: Path) -> Audit:
    """Run it on a repository that has nothing but two lock files."""
    locks = directory / "requirements"
    locks.mkdir()
    (locks / "dev.txt").write_text(
        f"h11==0.16.0 \\\n    --hash=sha256:{'0' * 64}\n", encoding="utf-8"
    )
    (locks / "runtime.txt").write_text(
        f"yarl==1.2 ; python_version > '3' \\\n    --hash=sha256:{'1' * 64}\n", encoding="utf-8"
    )
    return await run(osv, directory, directory / "cache")


async def run(osv: Osv, directory: Path, cache: Path) -> Audit:
    """Run it in that directory, with what is installed here as it is."""
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *("make", "--file", str(ROOT / "Makefile"), "audit", f"VENV={sys.prefix}"),
            *(f"--old-file={sys.prefix}/{stamp}" for stamp in (".runtime", ".dev")),
            f"AUDIT_ARGS=--osv-url {osv.url} --cache-dir {cache}",
        ],
        cwd=directory,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    return Audit(done.returncode, done.stdout + done.stderr)


async def test_a_known_fault_fails_it(osv: Osv, tmp_path: Path) -> None:
    """It names the file, the package, the fault and its fix, and examines the other files too."""
    osv.faults["h11"] = {
        "id": "MADE-UP-1",
        "summary": "it is made up",
        "affected": [
            {
                "package": {"name": "h11", "ecosystem": "PyPI"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.17.0"}]}
                ],
            }
        ],
    }
    ended = await audit(osv, tmp_path)
    assert ended.status != 0
    assert all(word in ended.said for word in ("h11", "0.16.0", "MADE-UP-1", "0.17.0"))
    assert "see above what is wrong with requirements/dev.txt\n" in ended.said
    assert osv.asked == {("h11", "0.16.0"), ("yarl", "1.2")}


async def test_without_a_known_fault_it_is_content(osv: Osv, tmp_path: Path) -> None:
    """When nothing is known it ends well."""
    ended = await audit(osv, tmp_path)
    assert (ended.status, "No known vulnerabilities found" in ended.said) == (0, True)


async def test_no_answer_is_no_good_answer(tmp_path: Path) -> None:
    """When the service cannot be asked it fails."""
    with held_port() as held:
        osv = Osv()
        osv.url = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert (await audit(osv, tmp_path)).status != 0


async def test_all_that_is_locked_is_asked_about(osv: Osv, tmp_path: Path) -> None:
    """Every locked package that is for this Python and system is asked about, at its version."""
    pins = {
        Requirement(line.partition("\\")[0].strip())
        for file in (ROOT / "requirements").glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line[:1].isalnum()
    }
    here = {pin for pin in pins if pin.marker is None or pin.marker.evaluate()}
    ended = await run(osv, ROOT, tmp_path)
    assert ended.status == 0, ended.said
    assert osv.asked == {
        (canonicalize_name(pin.name), str(pin.specifier).removeprefix("==")) for pin in here
    }
