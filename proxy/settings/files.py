"""The files that settings are read from: the strict YAML, and secrets alone in a file.

Nothing here knows which settings there are. No error quotes a file's content, except a key as far
as it looks like a name: PyYAML's own words quote the file, so they are translated. Of a path that
leads nowhere, only the part that exists is shown: what stands in place of a secret's file name may
be the secret.

Reading ends, whatever the path leads to: a pipe is waited for within a bound. It gives its content
once, so what it gave is kept for as long as the process runs.
"""

import errno
import os
import re
import select
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from proxy.errors import ConfigError

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

# --- What is wrong with a YAML text ------------------------------------------------------------

_TAB: Final = "a tab stands where only spaces may indent. Write spaces"
_QUOTES: Final = "Put the value in quotes"
_ANYTHING: Final = (
    "something is out of place. Look for a tab in the indentation, a missing space after a colon,"
    " or a value with special characters that needs quotes"
)
_COLON: Final = (
    "a colon and a space stand in a value, or the line above lacks its colon."
    " Put a value with a colon in quotes"
)
_DEEPER: Final = (
    "the line is indented deeper than the one above it, which has a value already."
    " Indent the lines of a section equally"
)
_SIGN: Final = f"a value begins with a character of YAML's own (@ % ` & * !). {_QUOTES}"
_BRACKET: Final = (
    f"a bracket or a brace is not closed, or a comma is missing. Correct that, or {_QUOTES.lower()}"
)
_MARGIN: Final = "the first line is indented, or text follows the end. Begin sections at the margin"
_UNEQUAL: Final = "a line is not indented like the others, or text follows a quote. Indent equally"

#: How the complaints of PyYAML begin, with libyaml and without it, behind "did not find the", and
#: what they mean to the author of the file. The first that fits counts.
_MEANINGS: Final = (
    (r"mapping values are not allowed", _COLON),
    (r"found a tab", _TAB),
    (r"found (character|undefined alias)|could not determine a constructor", _SIGN),
    (r"expected (alphabetic|'>')", _SIGN),
    (r"found unexpected end of stream", "a quote is opened and never closed. Close it there"),
    (r"found unknown escape", "a backslash in double quotes begins an escape. Use single quotes"),
    (r"(block )?sequence entries", "a list begins on the line of its name. Begin it on the next"),
    (r"expected ','", _BRACKET),
    (r"expected (the )?node", "a value is missing. Add it, or close what is open"),
    (r"but found another document", "a line of three dashes begins a second document. Remove it"),
    (r"expected '?<document", _MARGIN),
    (r"expected (?!c)", _UNEQUAL),
)


class NotConfiguration(yaml.YAMLError):
    """What is refused here and not by PyYAML: the line, and words that may be shown."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(f", line {line}: {words}")


def explained(error: yaml.YAMLError, text: str) -> str:
    """Say where in the text the fault is, if that is known, and what it is; no full stop."""
    if isinstance(error, NotConfiguration):
        return str(error)
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, text.index(chr(error.character))) + 1
        return f", line {line}: holds a control character. Remove it"
    if not isinstance(error, yaml.MarkedYAMLError) or (mark := error.problem_mark) is None:
        return f": is not valid YAML: {_ANYTHING}"
    meaning = _meaning(str(error.problem), mark, lines(text))
    return f", line {mark.line + 1}, column {mark.column + 1}: is not valid YAML: {meaning}"


def _meaning(complaint: str, mark: yaml.Mark, every: list[str]) -> str:
    complaint = re.sub(r"^did not find (the )?", "", complaint)
    fitting = (words for begins, words in _MEANINGS if re.match(begins, complaint))
    meaning = next(fitting, _ANYTHING)
    if meaning is _COLON and _is_deeper(mark, every):
        return _DEEPER
    if meaning is _SIGN and every[mark.line][mark.column :].startswith("\t"):
        return _TAB
    return meaning


def _is_deeper(mark: yaml.Mark, every: list[str]) -> bool:
    """Whether a line is indented deeper than the one above, although that one has its value."""
    before = [line for line in every[: mark.line] if line.strip()]
    above = re.match(r"( *)[\w-]+: +\S", before[-1]) if before else None
    here = re.match(r"( *)[\w-]+:(?: |$)", every[mark.line])
    return bool(above and here and len(here[1]) > len(above[1]))


def lines(text: str) -> list[str]:
    """Split a text where YAML 1.1 ends its lines, as PyYAML counts them."""
    return re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text)


def alteration(node: yaml.ScalarNode, of: list[str]) -> str | None:
    """Say how YAML altered a text without quotes; None if it did not. of: the file's lines.

    Where YAML adds or removes nothing but quotes, or the text is a block, it is what was meant.
    """
    begin, end = node.start_mark, node.end_mark
    if begin.line < len(of) and of[begin.line][begin.column : begin.column + 1] == "&":
        return "begins with &, which YAML takes for a name of its own"
    if node.style in ("|", ">"):
        return None
    if begin.line != end.line and "\n" not in node.value:
        return "stands on several lines, which YAML joins"
    if not node.style and of[end.line][end.column :].lstrip(" \t").startswith("#"):
        return "is cut at the # with a space before it, where YAML begins a comment"
    return None


# --- YAML --------------------------------------------------------------------------------------

#: Bytes. A configuration file is some kilobytes; the bound keeps a wrong path (a device, a log
#: file) from filling the memory.
_LARGEST_FILE: Final = 1 << 20
#: Levels. The settings stand on the second, the entries of lists on the third.
_DEEPEST_NESTING: Final = 20
#: Bytes. Credentials are some tens of bytes long.
_LARGEST_SECRET_FILE: Final = 64 << 10
#: Bytes. All authorities of a system are some hundred kilobytes.
_LARGEST_PEM_FILE: Final = 4 << 20
#: How often a pipe is asked for more, and how long each time, in milliseconds: 10 s together. A
#: program that fetches a secret takes some seconds.
_ASKED, _ASKED_FOR_MS = 100, 100
#: What the pipes gave, by path.
_given: Final[dict[Path, bytes]] = {}


class MissingFileError(ValueError):
    """There is no file of that name; `check --offline` does not mind."""


class AlteredText(str):
    """A text without quotes that YAML has cut or joined. why: what YAML did, in words."""

    __slots__ = ("why",)
    why: str


def read_yaml(path: Path) -> object:
    """Read the document of a YAML file, or raise ConfigError."""
    try:
        text = _read_text(path, _LARGEST_FILE)
    except ValueError as error:
        fault = f": {error}"
    else:
        try:
            return _load(text)
        except yaml.YAMLError as error:
            fault = explained(error, text)
    raise ConfigError([f"{writable(path)}{fault}."])


class _Loader(_SafeLoader):
    """PyYAML's safe loader, but a key stands only once in a mapping (YAML 1.2, section 3.2.1.1).

    lines: what is loaded. A text that is not what stands there becomes an `AlteredText`.
    """

    lines: list[str]

    def construct_mapping(  # PyYAML's signature
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    words = f"{printable(key.value)} is set a second time. Keep one of them"
                    raise NotConfiguration(key.start_mark.line + 1, words)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002
        try:
            value = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception:  # noqa: BLE001 # what int(), datetime() and the like raise for `!!int x`
            words = (
                "holds a value that YAML takes for a number or a date, but that is none."
                " Put it in quotes"
            )
            raise NotConfiguration(node.start_mark.line + 1, words) from None
        if isinstance(value, str) and isinstance(node, yaml.ScalarNode):
            why = alteration(node, self.lines)
            if why is not None:
                value = AlteredText(value)
                value.why = why
        return value


def _load(text: str) -> object:
    _check_depth(text)
    loader = _Loader(text)
    loader.lines = lines(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Refuse what would overflow the stack: libyaml's binding recurses without a bound."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_NESTING:
            line = event.start_mark.line + 1 if event.start_mark else 1
            words = "is nested too deeply to be a configuration. Check that it is the right file"
            raise NotConfiguration(line, words)


# --- Texts that may be shown -------------------------------------------------------------------


def writable(text: Path | str) -> str:
    """Return a path or a text with backslash escapes for bytes that are not UTF-8 (PEP 383)."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(key: object) -> str:
    """Return a key of the file as far as it looks like a name: what follows may be a secret."""
    text = "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)
    name = re.match(r"[\w.-]{0,40}", text, re.ASCII)
    begin = name[0] if name else ""
    return begin if begin == text else f"{begin}..."


# --- Files and pipes ---------------------------------------------------------------------------


def read_secret(path: Path) -> str:
    """Read the value that is a file's whole content, without the newlines at its end."""
    secret = _read_text(path, _LARGEST_SECRET_FILE).rstrip("\r\n")
    if not secret:
        raise ValueError("the file is empty. Write the value into it")
    return secret


def read_pem(path: Path) -> bytes:
    """Read a PEM file, which libraries read again by its name, so that it must be no pipe.

    Raises ValueError, whose words stand behind the setting's path.
    """
    if not is_lasting(path):
        raise ValueError("names a pipe or a device. Set it to a file that stays")
    return _read(path, _LARGEST_PEM_FILE)


def is_lasting(path: Path) -> bool:
    """Whether a path leads to what can be read again, not a pipe or a device; or to nothing yet."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return True
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


def how_far(path: Path) -> str:
    """Say how far a path leads that leads to no file, and what to do."""
    try:
        start = Path.cwd()
    except OSError:  # it was removed
        start = Path("/")
    end = next(parent for parent in (start / path).parents if os.path.isdir(parent))  # noqa: PTH112
    words = f"of its path only {writable(end)} is there. Check the path"
    if path.is_absolute():
        return words
    return f"{words}; it begins at the working directory, {writable(start)}"


def unreadable(error: OSError) -> str:
    """Say why a file that is there cannot be read, and what to do."""
    step = "Check the path"
    if isinstance(error, PermissionError):
        user = f" ({os.geteuid()})" if hasattr(os, "geteuid") else ""
        step = f"Let the user that the proxy runs as{user} read it"
    return f"cannot be read ({error.strerror}). {step}"


def _read_text(path: Path, largest: int) -> str:
    try:
        return _read(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text. Save it as UTF-8") from None


def _read(path: Path, largest: int) -> bytes:
    """Read a whole small file. Raises ValueError, without its name and content."""
    try:
        content = _read_bytes(path, largest)
    except FileNotFoundError:
        raise MissingFileError(f"the file does not exist: {how_far(path)}") from None
    except TimeoutError:
        raise ValueError(
            f"the pipe did not end within {_ASKED * _ASKED_FOR_MS / 1000:g} s."
            " Write the whole content into it and close it, or set this to a file"
        ) from None
    except OSError as error:
        raise ValueError(f"the file {unreadable(error)}") from None
    if len(content) > largest:
        raise ValueError(f"the file is larger than {largest} bytes. Check the path")
    return content


def _read_bytes(path: Path, largest: int) -> bytes:
    """Read a file, or one byte more than the largest.

    Raises `OSError`; a `TimeoutError` if it is a pipe that does not end.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISFIFO(kind):
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(largest + 1) or b""  # None: a terminal without input
        if path not in _given:
            _given[path] = _drain(descriptor, largest)
        return _given[path]
    finally:
        os.close(descriptor)


def _drain(descriptor: int, largest: int) -> bytes:
    content = bytearray()
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    for _ in range(_ASKED):
        # Without a writer a pipe reports nothing; one that has gone makes it report the end.
        if not waiting.poll(_ASKED_FOR_MS):
            continue
        data = os.read(descriptor, largest + 1 - len(content))
        content += data
        if not data or len(content) > largest:
            return bytes(content)
    raise TimeoutError
