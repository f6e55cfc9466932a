"""The status page: one HTML document with style, script and words inside, and its policy.

Put together once, at import, from the files in `assets`; no build step. The page fetches `status`
from where it came and nothing from anywhere else, and puts the proxy's data in as text.
"""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Final


def _read(name: str) -> str:
    return (files("proxy.admin") / "assets" / name).read_text("utf-8")


def _source(content: str) -> str:
    """Name an inline element's content as a source (CSP level 2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"


_STYLE: Final = _read("page.css")
#: In this order they make one script: each uses only what stands above it.
_SCRIPT: Final = "".join(map(_read, ("words.js", "verdict.js", "charts.js", "page.js")))
_WORDS: Final = json.dumps(
    json.loads(_read("words.json")), ensure_ascii=False, separators=(",", ":")
).replace("<", "\\u003c")  # so that it cannot end its element

#: The document, UTF-8.
CONTENT: Final = (
    _read("page.html")
    .replace("/* style */", _STYLE, 1)
    .replace("/* words */", _WORDS, 1)
    .replace("/* script */", _SCRIPT, 1)
    .encode()
)
#: Its `Content-Security-Policy`. With trusted types strings never become markup or code, whatever a
#: later change of the script does.
POLICY: Final = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
