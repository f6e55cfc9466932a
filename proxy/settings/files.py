"""The files that settings are read from: the strict YAML of the configuration, and secrets that stand alone in a file.

Nothing here knows which settings there are, and no error quotes a word of a file's content, except a key as far as it looks like a name.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from proxy.errors import ConfigError

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
    """Read the document of a YAML file, or raise ConfigError. What PyYAML says is not repeated: it quotes the file, which may hold secrets."""
    try:
        text = _read_text(path, _LARGEST_FILE)
    except ValueError as error:
        fault = f"{path}: {error}."
    else:
        try:
            _check_depth(text)
            return yaml.load(text, _Loader)  # noqa: S506 # it is a safe loader
        except _YamlError as error:
            fault = f"{path}{error.told}"
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            fault = (
                f"{path}{where}: is not valid YAML. Look for a tab in the indentation, a missing space after a colon,"
                " or a value with special characters that needs quotes."
            )
        except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            # Beside its own errors, PyYAML lets those of int(), datetime() and the like pass: a date with month 13, `!!int x`.
            fault = (
                f"{path}: is not valid YAML. Look for control characters, impossible dates and unusual tags."
            )
    raise ConfigError([fault])


def read_secret(path: Path) -> str:
    """Read the value that is the whole content of a file; the newline that an editor puts at its end is no part of it."""
    secret = _read_text(path, _LARGEST_SECRET_FILE).rstrip("\r\n")
    if not secret:
        raise ValueError("the file is empty. Write the value into it")
    return secret


def printable(key: object) -> str:
    """Return a key of the file as far as it looks like a name; what follows may be a secret that slipped into the key."""
    name = re.match(r"[\w.-]{0,40}", str(key), re.ASCII)
    return name[0] if name and name[0] == str(key) else f"{name[0] if name else ''}..."


class _YamlError(yaml.YAMLError):
    """What this module itself refuses in a YAML file: the line, and words that may be shown."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__()
        self.told = f", line {line}: {words}"


class _Loader(_SafeLoader):
    """PyYAML's safe loader, except that a key may stand only once in a mapping (YAML 1.2, section 3.2.1.1)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 # PyYAML's signature
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    name = printable(key.value)
                    raise _YamlError(
                        key.start_mark.line + 1, f"{name} is set a second time. Keep one of them."
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_depth(text: str) -> None:
    """Refuse what would overflow the stack: the composer of PyYAML's binding to libyaml recurses without a bound."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_NESTING:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _YamlError(line, "is nested too deeply to be a configuration.")


def _read_text(path: Path, largest: int) -> str:
    """Read a whole small file. The ValueError says what is wrong and what to do, without its name and content."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        text = content.decode("utf-8-sig") if len(content) <= largest else None
    except FileNotFoundError:
        fault = "the file does not exist. Check the path; a relative one begins at the working directory"
    except OSError as error:
        fault = f"the file cannot be read ({error.strerror}). Check the path and the rights"
    except UnicodeDecodeError:
        fault = "the file is not UTF-8 text. Save it as UTF-8"
    else:
        if text is not None:
            return text
        fault = f"the file is larger than {largest} bytes. Check the path"
    raise ValueError(fault)
