"""The status page: one HTML document with style, script and words inside, and its policy.

Put together once, at import, from the files in `assets`; no build step. The page fetches `status`
from where it came and nothing from anywhere else, and puts the proxy's data in as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Final

_ASSETS: Final = files("proxy.admin") / "assets"
#: In this order they make one script: each uses only what stands above it.
_SCRIPTS: Final = ("words.js", "verdict.js", "charts.js", "page.js")


def _read(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _words() -> str:
    """Return the words as JSON that cannot end its element."""
    text = json.dumps(json.loads(_read("words.json")), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


_STYLE: Final = _read("page.css")
_SCRIPT: Final = "".join(map(_read, _SCRIPTS))


def _document() -> bytes:
    html = _read("page.html")
    for place, content in (
        ("/* style */", _STYLE),
        ("/* words */", _words()),
        ("/* script */", _SCRIPT),
    ):
        html = html.replace(place, content, 1)
    return html.encode()


def _source(content: str) -> str:
    """Name an inline element's content as a source (CSP level 2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"


def _policy() -> str:
    directives = {
        "default-src": "'none'",
        "style-src": _source(_STYLE),
        "script-src": _source(_SCRIPT),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # Strings never become markup or code, whatever a later change of the script does.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


#: The document, UTF-8.
CONTENT: Final = _document()
#: Its `Content-Security-Policy`.
POLICY: Final = _policy()
