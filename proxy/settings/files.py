"""The files that settings are read from: the strict YAML of the configuration, and secrets that stand alone in a file.

Nothing here knows which settings there are, and no error quotes a word of a file's content, except a key as far as it looks like a name.
Of a path that leads nowhere, only the part that exists is shown: what stands in place of a secret's file name may be the secret.
"""

import os
import re
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


def read_yaml(path: Path) -> object:
    """Read the document of a YAML file, or raise ConfigError."""
    try:
        text = _read_text(path, _LARGEST_FILE)
    except ValueError as error:
        fault = f"{path}: {error}."
    else:
        try:
            syntax.check_characters(text)
            _check_depth(text)
            return yaml.load(text, _Loader)  # noqa: S506 # it is a safe loader
        except yaml.YAMLError as error:
            fault = f"{path}{syntax.told(error, text)}."
    raise ConfigError([fault])


def read_secret(path: Path) -> str:
    """Read the value that is the whole content of a file; the newline that an editor puts at its end is no part of it."""
    secret = _read_text(path, _LARGEST_SECRET_FILE).rstrip("\r\n")
    if not secret:
        raise ValueError("the file is empty. Write the value into it")
    return secret


def printable(key: object) -> str:
    """Return a key of the file as far as it looks like a name; what follows may be a secret that slipped into the key."""
    text = "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)
    name = re.match(r"[\w.-]{0,40}", text, re.ASCII)
    return name[0] if name and name[0] == text else f"{name[0] if name else ''}..."


class _Loader(_SafeLoader):
    """PyYAML's safe loader, except that a key may stand only once in a mapping (YAML 1.2, section 3.2.1.1)."""

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
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception:  # noqa: BLE001 # PyYAML lets pass whatever int(), datetime() and the like raise: for a month 13, or `!!int x`
            words = "holds a value that YAML takes for a number or a date, but that is none. Put it in quotes"
            raise syntax.NotConfiguration(node.start_mark.line + 1, words) from None


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
    begins = "" if path.is_absolute() else f"; it begins at the working directory, {start}"
    return f"of its path only {end} is there. Check the path{begins}"


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


def _read_text(path: Path, largest: int) -> str:
    """Read a whole small file. The ValueError says what is wrong and what to do, without its name and content."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        text = content.decode("utf-8-sig") if len(content) <= largest else None
    except FileNotFoundError:
        fault = f"the file does not exist: {whither(path)}"
    except OSError as error:
        fault = f"the file {unreadable(error)}"
    except UnicodeDecodeError:
        fault = "the file is not UTF-8 text. Save it as UTF-8"
    else:
        if text is not None:
            return text
        fault = f"the file is larger than {largest} bytes. Check the path"
    raise ValueError(fault)
