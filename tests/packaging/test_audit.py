"""`make audit`, with a stand-in for OSV on loopback."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.repository import ROOT, make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="the command is make's")


class Osv(ThreadingHTTPServer):
    """Knows of the faults that it is told of, and keeps what it was asked about, as `(package, version)`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.faults: dict[str, dict[str, Any]] = {}
        self.asked: set[tuple[str, str]] = set()


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Osv)
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = question["package"]["name"]
        self.server.asked.add((name, question["version"]))
        fault = self.server.faults.get(name)
        content = json.dumps({"vulns": [fault]} if fault else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is the library's
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[Osv]:
    """Answer on a port of its own."""
    with Osv() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def audit(osv: Osv, directory: Path) -> tuple[int, str]:
    """Run it on a repository that has nothing but two lock files."""
    locks = directory / "requirements"
    locks.mkdir()
    for name, pin in (("dev", "h11==0.16.0"), ("runtime", "yarl==1.2 ; python_version > '3'")):
        text = f"{pin} \\\n    --hash=sha256:{'0' * 64}\n"
        (locks / f"{name}.txt").write_text(text, encoding="utf-8")
    return run(osv, directory, directory / "cache")


def run(osv: Osv, directory: Path, cache: Path) -> tuple[int, str]:
    """Run it in that directory; return its status and its output."""
    asked = f"AUDIT_ARGS=--osv-url http://127.0.0.1:{osv.server_port} --cache-dir {cache}"
    makefile = ("--file", str(ROOT / "Makefile"))
    done = make("audit", *makefile, asked, cwd=directory, NO_PROXY="*", no_proxy="*")
    return done.returncode, done.stdout + done.stderr


def test_a_known_fault_fails_it(osv: Osv, tmp_path: Path) -> None:
    """File, package, fault and fixed version are named; the other files are checked too."""
    fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.17.0"}]}
    affected = {"package": {"name": "h11", "ecosystem": "PyPI"}, "ranges": [fixed]}
    osv.faults["h11"] = {"id": "MADE-UP-1", "summary": "made up", "affected": [affected]}
    status, output = audit(osv, tmp_path)
    assert status != 0
    assert all(word in output for word in ("h11", "0.16.0", "MADE-UP-1", "0.17.0"))
    assert "see above what is wrong with requirements/dev.txt\n" in output
    assert osv.asked == {("h11", "0.16.0"), ("yarl", "1.2")}


def test_without_a_known_fault_it_succeeds(osv: Osv, tmp_path: Path) -> None:
    """It ends with 0."""
    status, output = audit(osv, tmp_path)
    assert (status, "No known vulnerabilities found" in output) == (0, True)


def test_without_an_answer_it_fails(osv: Osv, tmp_path: Path) -> None:
    """Its exit status is not 0."""
    osv.shutdown()
    osv.server_close()
    assert audit(osv, tmp_path)[0] != 0


def test_all_that_is_locked_is_asked_about(osv: Osv, tmp_path: Path) -> None:
    """Each locked package for this Python and system is asked about, at its version."""
    pins = {
        Requirement(line.partition("\\")[0].strip())
        for file in (ROOT / "requirements").glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line[:1].isalnum()
    }
    here = {pin for pin in pins if pin.marker is None or pin.marker.evaluate()}
    status, output = run(osv, ROOT, tmp_path)
    assert status == 0, output
    assert osv.asked == {(canonicalize_name(pin.name), str(pin.specifier)[2:]) for pin in here}
