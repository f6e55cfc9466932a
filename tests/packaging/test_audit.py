"""`make audit`, with a stand-in for OSV on loopback."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pytest_aiohttp.plugin import AiohttpServer

from tests.packaging.repository import ROOT, make
from tests.ports import held_port

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="the command is make's")


class Osv:
    """Knows of these faults, by package, and keeps what it was asked about.

    `(package, version)`.
    """

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


@pytest.fixture
async def osv(aiohttp_server: AiohttpServer) -> Osv:
    """Answer on a port of its own."""
    made = Osv()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.answer)
    server = await aiohttp_server(app, access_log=None)
    made.url = str(server.make_url(""))
    return made


async def audit(osv: Osv, directory: Path) -> tuple[int, str]:
    """Run it on a repository that has nothing but two lock files."""
    locks = directory / "requirements"
    locks.mkdir()
    for name, pin in (("dev", "h11==0.16.0"), ("runtime", "yarl==1.2 ; python_version > '3'")):
        text = f"{pin} \\\n    --hash=sha256:{'0' * 64}\n"
        (locks / f"{name}.txt").write_text(text, encoding="utf-8")
    return await run(osv, directory, directory / "cache")


async def run(osv: Osv, directory: Path, cache: Path) -> tuple[int, str]:
    """Run it in that directory; return its status and its output."""
    asked = f"AUDIT_ARGS=--osv-url {osv.url} --cache-dir {cache}"
    makefile = ("--file", str(ROOT / "Makefile"))
    done = await asyncio.to_thread(
        make, "audit", *makefile, asked, cwd=directory, NO_PROXY="*", no_proxy="*"
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_known_fault_fails_it(osv: Osv, tmp_path: Path) -> None:
    """File, package, fault and fixed version are named; the other files are checked too."""
    fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.17.0"}]}
    affected = {"package": {"name": "h11", "ecosystem": "PyPI"}, "ranges": [fixed]}
    osv.faults["h11"] = {"id": "MADE-UP-1", "summary": "made up", "affected": [affected]}
    status, output = await audit(osv, tmp_path)
    assert status != 0
    assert all(word in output for word in ("h11", "0.16.0", "MADE-UP-1", "0.17.0"))
    assert "see above what is wrong with requirements/dev.txt\n" in output
    assert osv.asked == {("h11", "0.16.0"), ("yarl", "1.2")}


async def test_without_a_known_fault_it_succeeds(osv: Osv, tmp_path: Path) -> None:
    """It ends with 0."""
    status, output = await audit(osv, tmp_path)
    assert (status, "No known vulnerabilities found" in output) == (0, True)


async def test_without_an_answer_it_fails(tmp_path: Path) -> None:
    """Its exit status is not 0."""
    with held_port() as held:
        osv = Osv()
        osv.url = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert (await audit(osv, tmp_path))[0] != 0


async def test_all_that_is_locked_is_asked_about(osv: Osv, tmp_path: Path) -> None:
    """Every locked package that is for this Python and system is asked about, at its version."""
    pins = {
        Requirement(line.partition("\\")[0].strip())
        for file in (ROOT / "requirements").glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line[:1].isalnum()
    }
    here = {pin for pin in pins if pin.marker is None or pin.marker.evaluate()}
    status, output = await run(osv, ROOT, tmp_path)
    assert status == 0, output
    assert osv.asked == {(canonicalize_name(pin.name), str(pin.specifier)[2:]) for pin in here}
