"""The document at `/`: self-contained, under a strict policy, accessible."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import proxy.admin
from proxy.admin import page

ASSETS = Path(proxy.admin.__file__).parent / "assets"
STYLE = (ASSETS / "page.css").read_text("utf-8")


class Elements(HTMLParser):
    """All elements with their attributes, and the content of those that hold code or style."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(page.CONTENT.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note the content of a script or a style."""
        if self.found and self.found[-1][0] in self.content and data.strip():
            self.content[self.found[-1][0]].append(data)


def test_the_policy_names_exactly_the_code_and_the_style_inside() -> None:
    """By their hashes; the words are data and need none."""
    elements = Elements()
    _, script = elements.content["script"]
    (style,) = elements.content["style"]
    for content, directive in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in page.POLICY.split("; ")


def test_the_policy_lets_nothing_else_in() -> None:
    """Only its own origin, for fetching; no frames, forms, bases or markup from strings."""
    policy = dict(directive.split(" ", 1) for directive in page.POLICY.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["img-src"] == "data:"
    for directive in ("base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert policy[directive] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in page.POLICY
    assert "http" not in page.POLICY


def test_nothing_in_it_leads_elsewhere_or_needs_an_inline_handler() -> None:
    """Addresses are relative, and no attribute holds style or code."""
    for tag, attributes in Elements().found:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
            if name in {"src", "href"} and value is not None:
                assert re.fullmatch(r"data:,|#[\w-]+|status|metrics|readiness", value), value


def test_data_is_never_made_markup() -> None:
    """The script knows none of the ways in which text becomes markup or code."""
    script = Elements().content["script"][1]
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
    ):
        assert way not in script


def test_it_has_the_structure_that_screen_readers_use() -> None:
    """Language, headings, landmarks, a live region, headers and captions of tables."""
    found = Elements().found
    tags = [tag for tag, _ in found]
    assert dict(found)["html"]["lang"] == "en"
    assert (
        tags.count("h1") == tags.count("main") == tags.count("header") == tags.count("footer") == 1
    )
    assert tags.count("caption") == tags.count("table") == 5
    assert all(attributes.get("scope") for tag, attributes in found if tag == "th")
    live = [attributes for _, attributes in found if "aria-live" in attributes]
    assert [(region["aria-live"], region["role"]) for region in live] == [("polite", "status")]


def test_it_is_small() -> None:
    """It is fetched over port forwards and phone networks."""
    assert len(page.CONTENT) < 104_000


# --- Colours -----------------------------------------------------------------------------------

#: Text and what it stands on. WCAG 2.2, 1.4.3: 4.5 to 1 for text of this size.
TEXTS = [
    ("text", "card"),
    ("text", "ground"),
    ("quiet", "card"),
    ("quiet", "ground"),
    ("accent", "ground"),
    ("bad", "card"),
    *((tone, f"{tone}-soft") for tone in ("ok", "busy", "warn", "bad", "off")),
    *(("text", f"{tone}-soft") for tone in ("ok", "busy", "warn", "bad", "off")),
]
#: Marks and what they stand on. WCAG 2.2, 1.4.11: 3 to 1 for what must be seen to understand; each
#: mark's number is also in words.
MARKS = [("failed", "card"), ("whole", "card"), ("upstream", "card"), ("c2xx", "card")]


def colours(scheme: str) -> dict[str, str]:
    """Give the custom properties in force in that scheme."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", light))
    return found | (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", dark)) if scheme == "dark" else {}
    )


def luminance(colour: str) -> float:
    """Give the relative luminance (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(scheme: str) -> None:
    """AA, in the light and in the dark."""
    found = colours(scheme)
    for pairs, least in ((TEXTS, 4.5), (MARKS, 3.0)):
        for front, back in pairs:
            low, high = sorted((luminance(found[front]), luminance(found[back])))
            ratio = (high + 0.05) / (low + 0.05)
            assert ratio >= least, f"{scheme}: {front} on {back} has {ratio:.2f}"
