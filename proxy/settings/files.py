"""The files that settings are read from: the strict YAML of the configuration, and secrets that stand alone in a file.

Nothing here knows which settings there are, and no error quotes a word of a file's content, except a key as far as it looks like a name.
Of a path that leads nowhere, only the part that exists is shown: what stands in place of a secret's file name may be the secret.

Reading ends, whatever the path leads to: a pipe is waited for within a bound. A pipe gives its content once, so that it is read once; what it
gave is kept for as long as the process runs.
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
from proxy.settings import syntax

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

#: Bytes. A configuration file is some kilobytes; the bound keeps a wrong path (a device, a log file) from filling the memory.
_LARGEST_FILE: Final = 1 << 20
#: Levels. The settings stand on the second, the entries of lists on the third.
_DEEPEST_NESTING: Final = 20
#: Bytes. Credentials are some tens of bytes long.
_LARGEST_SECRET_FILE: Final = 64 << 10
#: Bytes. All authorities of a system are some hundred kilobytes.
_LARGEST_PEM_FILE: Final = 4 << 20
#: How often a pipe is asked for more, and how long each time, in milliseconds: 10 s together. A program that fetches a secret takes some seconds.
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
            syntax.check_characters(text)
            _check_depth(text)
            return _load(text)
        except yaml.YAMLError as error:
            fault = f"{writable(path)}{syntax.told(error, text)}."
    raise ConfigError([fault])


def read_secret(path: Path) -> str:
    """Read the value that is the whole content of a file; the newline that an editor puts at its end is no part of it."""
    secret = _read_text(path, _LARGEST_SECRET_FILE).rstrip("\r\n")
    if not secret:
        raise ValueError("the file is empty. Write the value into it")
    return secret


def read_pem(path: Path) -> bytes:
    """Read a PEM file, which libraries read again by its name: no pipe. The ValueError is to stand behind the setting's path."""
    try:
        if not is_lasting(path):
            raise ValueError("names a pipe or a device. Set it to a file that stays")
        content = _read_bytes(path, _LARGEST_PEM_FILE)
    except FileNotFoundError:
        raise MissingFileError(f"names a file that does not exist: {whither(path)}") from None
    except OSError as error:
        raise ValueError(f"names a file that {unreadable(error)}") from None
    if len(content) > _LARGEST_PEM_FILE:
        raise ValueError(f"names a file that is larger than {_LARGEST_PEM_FILE} bytes. Check the path")
    return content


def is_lasting(path: Path) -> bool:
    """Whether a path leads to what can be read again and may change; not so a pipe or a device. A path that leads nowhere may do so later."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return True
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


def writable(path: Path) -> str:
    """Return a path as text that can be written as UTF-8; bytes that are not UTF-8 as backslash escapes."""
    return clean(str(path))


def clean(text: str) -> str:
    """Return a text in which what stands for bytes that are not UTF-8 (PEP 383) is written as backslash escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(key: object) -> str:
    """Return a key of the file as far as it looks like a name; what follows may be a secret that slipped into the key."""
    text = "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)
    name = re.match(r"[\w.-]{0,40}", text, re.ASCII)
    return name[0] if name and name[0] == text else f"{name[0] if name else ''}..."


class AlteredText(str):
    """A text without quotes that YAML has cut or joined: it is not what stands in the file. why: what YAML did, in words."""

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
                    raise syntax.NotConfiguration(
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
            raise syntax.NotConfiguration(node.start_mark.line + 1, words) from None


def _load(text: str) -> object:
    loader = _Loader(text)
    loader.lines = syntax.lines(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _marked(value: object, node: yaml.ScalarNode, lines: list[str]) -> object:
    why = syntax.alteration(node, lines) if isinstance(value, str) else None
    if why is None:
        return value
    altered = AlteredText(value)
    altered.why = why
    return altered


def _check_depth(text: str) -> None:
    """Refuse what would overflow the stack: the composer of PyYAML's binding to libyaml recurses without a bound."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_NESTING:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise syntax.NotConfiguration(
                line, "is nested too deeply to be a configuration. Check that it is the right file"
            )


def whither(path: Path) -> str:
    """Say how far a path leads that leads to no file, and what to do."""
    start = _working_directory()
    end = next(parent for parent in (start / path).parents if os.path.isdir(parent))  # noqa: PTH112 # it takes any text
    begins = "" if path.is_absolute() else f"; it begins at the working directory, {writable(start)}"
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
        return f"cannot be read ({error.strerror}). Let the user that the proxy runs as{user} read it"
    return f"cannot be read ({error.strerror}). Check the path"


def no_end() -> str:
    """Say that a pipe was waited for in vain, and what to do."""
    seconds = _ASKED * _ASKED_FOR_MS / 1000
    return f"the pipe did not end within {seconds:g} s. Write the whole content into it and close it, or set this to a file"


def _read_text(path: Path, largest: int) -> str:
    """Read a whole small file. The ValueError says what is wrong and what to do, without its name and content."""
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
    """Read a file, or one byte more than the largest. Raises `OSError`; a `TimeoutError` if it is a pipe that does not end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
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
