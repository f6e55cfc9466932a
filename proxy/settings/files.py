"""The files that settings are read from.

The strict YAML of the configuration, and secrets that stand alone in a file.

Nothing here knows which settings there are, and no error quotes a word of a file's content, except
a key as far as it looks like a name: PyYAML's own words are recognised, never repeated, for they
quote the file. Of a path that leads nowhere, only the part that exists is shown: what stands in
place of a secret's file name may be the secret.

Reading ends, whatever the path leads to: a pipe is waited for within a bound. A pipe gives its
content once, so that it is read once; what it gave is kept for as long as the process runs.
"""

import errno
import os
import re
import select
import stat
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from proxy.errors import ConfigError

# --- What is wrong with a YAML text: pure -------------------------------------------------------


#: What YAML takes as text (YAML 1.2, section 5.1, `c-printable`).
_UNPRINTABLE: Final = re.compile(
    r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)

_TAB: Final = "a tab stands where only spaces may indent. Write spaces"
_RESERVED: Final = "a value begins with a character that YAML keeps for itself, such as @, % or `. Put the value in quotes"
_ANYTHING: Final = (
    "something is out of place. Look for a tab in the indentation, a missing space after a colon,"
    " or a value with special characters that needs quotes"
)

#: How the complaints of PyYAML begin, with libyaml and without it, and what they mean to the author
#: of the file. The first that fits counts.
_MEANINGS: Final[Mapping[str, str]] = {
    "mapping values are not allowed": "a colon with a space after it stands inside a value, or the line above lacks its own. Put a value with a colon in quotes",
    "found a tab": _TAB,
    "found character": _RESERVED,
    "found undefined alias|did not find expected alphabetic|expected alphabetic": "a value begins with & or *, which YAML takes for a reference. Put the value in quotes",
    "could not determine a constructor|did not find the expected '>'|expected '>'": "a value begins with an exclamation mark, which YAML takes for a type. Put the value in quotes",
    "found unexpected end of stream": "a quote is opened and never closed. Close it, on the same line",
    "found unknown escape": "a backslash in double quotes begins an escape that YAML does not know. Use single quotes",
    "block sequence entries are not allowed|sequence entries are not allowed": "a list begins on the line of its name. Put each entry on a line of its own, after a dash",
    "did not find expected ','|expected ','": "a bracket or a brace is opened and never closed, or a comma is missing. Close it; put a value with brackets in quotes",
    "did not find expected node content|expected the node content": "a value is missing, or a bracket stands where one belongs. Close what is open; put a value with brackets in quotes",
    "did not find expected comment|expected chomping": "text stands behind | or >. Put the whole value in quotes",
    "but found another document": "a line of three dashes begins a second document. Keep one of them",
    "found unhashable key": "a list or a group stands where a name belongs. Write the name alone, with a colon after it",
    "did not find expected <document|expected '<document": "the first line is indented, or something stands behind the end. Begin every section at the margin",
    "did not find expected|expected <block end>": "a line is not indented as those around it, or something stands behind a quoted value. Indent the lines of a section equally",
}


class NotConfiguration(yaml.YAMLError):
    """What is refused here and not by PyYAML: the line, and words that may be shown."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__()
        self.line = line
        self.words = words


def check_characters(text: str) -> None:
    """Refuse what YAML does not take as text, with the line that it is on."""
    found = _UNPRINTABLE.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise NotConfiguration(line, "holds a control character. Remove it")


def told(error: yaml.YAMLError, text: str) -> str:
    """Say where in the text the fault is, as far as that is known, and what it is.

    Without a full stop.
    """
    if isinstance(error, NotConfiguration):
        return f", line {error.line}: {error.words}"
    mark = (
        error.problem_mark or error.context_mark
        if isinstance(error, yaml.MarkedYAMLError)
        else None
    )
    if mark is None:
        return f": is not valid YAML: {_ANYTHING}"
    return f", line {mark.line + 1}, column {mark.column + 1}: is not valid YAML: {_meaning(error, mark, text)}"


def lines(text: str) -> list[str]:
    """Split a text where YAML 1.1 ends its lines, as PyYAML counts them."""
    return re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text)


def alteration(node: yaml.ScalarNode, of: list[str]) -> str | None:
    """Say what YAML did to a text without quotes that is not what stands in the file.

    None if it did nothing.

    of: the lines of the file. Where YAML adds or removes nothing but quotes, or the text is a block
    of its own, it is what was meant.
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


_DEEPER: Final = "the line is indented deeper than the one above it, which has a value already. Indent the lines of a section equally"


def _is_deeper(mark: yaml.Mark, text: str) -> bool:
    """Whether a line is indented deeper than the one above, although that one has its value."""
    before = [line for line in lines(text)[: mark.line] if line.strip()]
    here = lines(text)[mark.line]
    if (
        not before
        or not re.match(r" *[\w-]+: +\S", before[-1])
        or not re.match(r" *[\w-]+:(?: |$)", here)
    ):
        return False
    return _indentation(here) > _indentation(before[-1])


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _meaning(error: yaml.YAMLError, mark: yaml.Mark, text: str) -> str:
    complaint = str(getattr(error, "problem", "") or "")
    if complaint.startswith("mapping values are not allowed") and _is_deeper(mark, text):
        return _DEEPER
    if complaint.startswith("found character") and _character(mark, text) == "\t":
        return _TAB
    fitting = (
        words
        for begins, words in _MEANINGS.items()
        if complaint.startswith(tuple(begins.split("|")))
    )
    return next(fitting, _ANYTHING)


def _character(mark: yaml.Mark, text: str) -> str:
    every = lines(text)
    return every[mark.line][mark.column : mark.column + 1] if mark.line < len(every) else ""


# --- Files and pipes ---------------------------------------------------------------------------


try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

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


def read_yaml(path: Path) -> object:
    """Read the document of a YAML file, or raise ConfigError."""
    try:
        text = _read_text(path, _LARGEST_FILE)
    except ValueError as error:
        fault = f"{writable(path)}: {error}."
    else:
        try:
            check_characters(text)
            _check_depth(text)
            return _load(text)
        except yaml.YAMLError as error:
            fault = f"{writable(path)}{told(error, text)}."
    raise ConfigError([fault])


def read_secret(path: Path) -> str:
    """Read the value that is the whole content of a file.

    The newline that an editor puts at its end is no part of it.
    """
    secret = _read_text(path, _LARGEST_SECRET_FILE).rstrip("\r\n")
    if not secret:
        raise ValueError("the file is empty. Write the value into it")
    return secret


def read_pem(path: Path) -> bytes:
    """Read a PEM file, which libraries read again by its name: no pipe.

    The ValueError is to stand behind the setting's path.
    """
    try:
        if not is_lasting(path):
            raise ValueError("names a pipe or a device. Set it to a file that stays")
        content = _read_bytes(path, _LARGEST_PEM_FILE)
    except FileNotFoundError:
        raise MissingFileError(f"names a file that does not exist: {whither(path)}") from None
    except OSError as error:
        raise ValueError(f"names a file that {unreadable(error)}") from None
    if len(content) > _LARGEST_PEM_FILE:
        raise ValueError(
            f"names a file that is larger than {_LARGEST_PEM_FILE} bytes. Check the path"
        )
    return content


def is_lasting(path: Path) -> bool:
    """Whether a path leads to what can be read again and may change; not so a pipe or a device.

    A path that leads nowhere may do so later.
    """
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return True
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


def writable(path: Path) -> str:
    """Return a path as text that can be written as UTF-8.

    Bytes that are not UTF-8 as backslash escapes.
    """
    return clean(str(path))


def clean(text: str) -> str:
    """Return a text in which what stands for bytes that are not UTF-8 (PEP 383) is written as backslash escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(key: object) -> str:
    """Return a key of the file as far as it looks like a name.

    What follows may be a secret that slipped into the key.
    """
    text = "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)
    name = re.match(r"[\w.-]{0,40}", text, re.ASCII)
    return name[0] if name and name[0] == text else f"{name[0] if name else ''}..."


class AlteredText(str):
    """A text without quotes that YAML has cut or joined: it is not what stands in the file.

    why: what YAML did, in words.
    """

    __slots__ = ("why",)
    why: str


class _Loader(_SafeLoader):
    """PyYAML's safe loader, except that a key may stand only once in a mapping (YAML 1.2, section 3.2.1.1).

    lines: what is loaded. A text that is not what stands there becomes an `AlteredText`.
    """

    lines: list[str]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 # PyYAML's signature
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    name = printable(key.value)
                    raise NotConfiguration(
                        key.start_mark.line + 1, f"{name} is set a second time. Keep one of them"
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 # PyYAML's signature
        try:
            value = super().construct_object(node, deep)
            return _marked(value, node, self.lines) if isinstance(node, yaml.ScalarNode) else value
        except yaml.YAMLError:
            raise
        except Exception:  # noqa: BLE001 # PyYAML lets pass whatever int(), datetime() and the like raise: for a month 13, or `!!int x`
            words = "holds a value that YAML takes for a number or a date, but that is none. Put it in quotes"
            raise NotConfiguration(node.start_mark.line + 1, words) from None


def _load(text: str) -> object:
    loader = _Loader(text)
    loader.lines = lines(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _marked(value: object, node: yaml.ScalarNode, lines: list[str]) -> object:
    why = alteration(node, lines) if isinstance(value, str) else None
    if why is None:
        return value
    altered = AlteredText(value)
    altered.why = why
    return altered


def _check_depth(text: str) -> None:
    """Refuse what would overflow the stack.

    The composer of PyYAML's binding to libyaml recurses without a bound.
    """
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        if depth > _DEEPEST_NESTING:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise NotConfiguration(
                line, "is nested too deeply to be a configuration. Check that it is the right file"
            )


def whither(path: Path) -> str:
    """Say how far a path leads that leads to no file, and what to do."""
    start = _working_directory()
    end = next(parent for parent in (start / path).parents if os.path.isdir(parent))  # noqa: PTH112 # it takes any text
    begins = (
        "" if path.is_absolute() else f"; it begins at the working directory, {writable(start)}"
    )
    return f"of its path only {writable(end)} is there. Check the path{begins}"


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # somebody has removed it
        return Path("/")


def unreadable(error: OSError) -> str:
    """Say why a file that is there cannot be read, and what to do."""
    if isinstance(error, PermissionError):
        user = f" ({os.geteuid()})" if hasattr(os, "geteuid") else ""
        return (
            f"cannot be read ({error.strerror}). Let the user that the proxy runs as{user} read it"
        )
    return f"cannot be read ({error.strerror}). Check the path"


def no_end() -> str:
    """Say that a pipe was waited for in vain, and what to do."""
    seconds = _ASKED * _ASKED_FOR_MS / 1000
    return f"the pipe did not end within {seconds:g} s. Write the whole content into it and close it, or set this to a file"


def _read_text(path: Path, largest: int) -> str:
    """Read a whole small file.

    The ValueError says what is wrong and what to do, without its name and content.
    """
    try:
        content = _read_bytes(path, largest)
        text = content.decode("utf-8-sig") if len(content) <= largest else None
    except FileNotFoundError:
        raise MissingFileError(f"the file does not exist: {whither(path)}") from None
    except TimeoutError:
        fault = no_end()
    except OSError as error:
        fault = f"the file {unreadable(error)}"
    except UnicodeDecodeError:
        fault = "the file is not UTF-8 text. Save it as UTF-8"
    else:
        if text is not None:
            return text
        fault = f"the file is larger than {largest} bytes. Check the path"
    raise ValueError(fault)


def _read_bytes(path: Path, largest: int) -> bytes:
    """Read a file, or one byte more than the largest.

    Raises `OSError`; a `TimeoutError` if it is a pipe that does not end.
    """
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            if not stat.S_ISFIFO(kind):
                # A terminal that has nothing to say gives None.
                return file.read(largest + 1) or b""
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
