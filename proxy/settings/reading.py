"""How a YAML file, the environment and secret files become `Settings`, or one `ConfigError` with everything that is wrong.

A draft collects values and problems from the file, then the environment, then the secret files; the model judges it last.
Nothing here reads the process's own environment: it is handed in.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.errors import ConfigError
from proxy.settings import files, messages
from proxy.settings.catalogue import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    FIELDS,
    PATH_OF_VARIABLE,
    SECRETS,
    SECTIONS,
    environment_name,
    from_text,
    kind_of,
    split,
)
from proxy.settings.model import AdminSettings, ContradictionsError, Settings

#: Takes the place of a required value that is missing or wrong while the other settings are checked against each other.
_STAND_IN: Final = "stand-in"
#: What Kubernetes sets in every container when a Service's name begins with `telenor-proxy` ("Environment variables" in its page on Services).
_SERVICE_LINK: Final = re.compile(
    r"(?!\w*__)[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)=.*"
    r"|(?!\w*__)[A-Z0-9_]+_PORT=(?:tcp|udp|sctp)://.*"
)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Make the settings from a YAML file (or none) and the environment, which wins.

    Reads the files that the settings name as well. Raises ConfigError with all problems at once, except that a file that is
    not readable YAML is the only problem told. The error holds nothing of what was read: neither as its cause nor as its context.
    """
    draft = _Draft()
    if path is not None:
        _take_file(draft, path)
    _take_environment(draft, environ)
    _take_secret_files(draft)
    settings = _judge(draft)
    if settings is None or draft.problems:
        raise ConfigError(draft.problems)
    return settings


def load_admin(path: Path | None, environ: Mapping[str, str]) -> AdminSettings:
    """Read where the admin listener is, and nothing else: no secret is opened, and none is missed. Raises `ConfigError`."""
    draft = _Draft()
    if path is not None:
        _take_file(draft, path)
    _take_environment(draft, environ)
    draft.problems.clear()  # of other settings; who starts the proxy is told
    try:
        return AdminSettings.model_validate(
            {key: value for section, key, value in _entries(draft.values) if section == "admin"}
        )
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            details["loc"] = ("admin", *details["loc"])
            _tell(draft, details)
    raise ConfigError(draft.problems)


class _Draft:
    """A configuration on its way to `Settings`."""

    def __init__(self) -> None:
        #: What was given, by path; never None.
        self.values: dict[str, object] = {}
        #: For values that do not stand in the file: where they came from.
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        #: The paths that have a problem, so that no second one is told about them.
        self.faulty: set[str] = set()

    def problem(self, path: str, words: str) -> None:
        source = self.sources.get(path.partition("[")[0])
        end = "" if words.endswith("?") else "."
        self.problems.append(f"{path} ({source}): {words}{end}" if source else f"{path}: {words}{end}")
        self.faulty |= {path, path.partition("[")[0]}

    def unknown(self, name: str, meant: list[str]) -> None:
        self.problem(name, messages.unknown(meant))


def _take_file(draft: _Draft, path: Path) -> None:
    document = files.read_yaml(path)
    if document is None:
        return
    if not isinstance(document, dict):
        sections = ", ".join(SECTIONS)
        raise ConfigError(
            [f"{path}: must hold the sections {sections}, each with its settings indented below it."]
        )
    for section, content in document.items():
        if section in FIELDS:
            draft.problem(section, "must be split at the dot: the section first, the rest indented below it")
        elif section not in SECTIONS:
            draft.unknown(files.printable(section), messages.meant(files.printable(section), SECTIONS))
        elif isinstance(content, dict):
            _take_section(draft, section, content)
        elif content is not None:
            draft.problem(section, "must be a group of settings, each on a line of its own and indented")


def _take_section(draft: _Draft, section: str, content: dict[object, object]) -> None:
    for key, value in content.items():
        path = f"{section}.{key}"
        if path in FIELDS:
            if value is not None:
                draft.values[path] = value
        elif isinstance(key, str) and ":" in key:
            draft.problem(
                f"{section}.{files.printable(key.partition(':')[0])}", "needs a space after the colon"
            )
        else:
            path = f"{section}.{files.printable(key)}"
            draft.unknown(path, messages.meant(path))


def _take_environment(draft: _Draft, environ: Mapping[str, str]) -> None:
    given = {path: environ[name] for name, path in PATH_OF_VARIABLE.items() if name in environ}
    for path, text in given.items():
        if not text:
            draft.values.pop(path, None)
            continue
        partner = path.removesuffix("_file") if path.endswith("_file") else f"{path}_file"
        if not given.get(partner):
            draft.values.pop(partner, None)
        draft.values[path] = from_text(kind_of(path), text)
        draft.sources[path] = f"from {environment_name(path)}"
    for name in sorted(environ):
        if (
            not name.upper().startswith(ENVIRONMENT_PREFIX)
            or name in PATH_OF_VARIABLE
            or name == CONFIG_VARIABLE
        ):
            continue
        if "KUBERNETES_SERVICE_HOST" in environ and _SERVICE_LINK.fullmatch(f"{name}={environ[name]}"):
            continue
        dotted = name[len(ENVIRONMENT_PREFIX) :].replace("__", ".")
        draft.unknown(name, [environment_name(path) for path in messages.meant(dotted)])


def _take_secret_files(draft: _Draft) -> None:
    for path in sorted(SECRETS & {name.removesuffix("_file") for name in draft.values}):
        file_path = f"{path}_file"
        name = draft.values.get(file_path)
        if name is None:
            continue
        if path in draft.values:
            draft.problem(path, f"is given together with {file_path}. Keep one of them")
        elif isinstance(name, str) and name and "\0" not in name:
            try:
                draft.values[path] = files.read_secret(Path(name))
            except ValueError as error:
                draft.problem(file_path, str(error))
            else:
                draft.sources[path] = f"read from {file_path}"
        if path not in draft.values:
            draft.faulty.add(path)


def _judge(draft: _Draft) -> Settings | None:
    settings, errors = _validate(draft.values)
    for error in errors:
        _tell(draft, error)
    if errors:
        sound = {path: value for path, value in draft.values.items() if path not in draft.faulty}
        required = {path: _STAND_IN for path, field in FIELDS.items() if field.is_required()}
        _, errors = _validate(required | sound)
    for error in errors:
        reason = error.get("ctx", {}).get("error")
        for paths, words in reason.found if isinstance(reason, ContradictionsError) else ():
            if draft.faulty.isdisjoint(paths):
                draft.problem(paths[0], words)
    return settings


def _entries(values: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    for path, value in values.items():
        yield *split(path), value


def _validate(values: Mapping[str, object]) -> tuple[Settings | None, list[ErrorDetails]]:
    tree: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for section, key, value in _entries(values):
        tree[section][key] = value
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_input=False)


def _tell(draft: _Draft, error: ErrorDetails) -> None:
    """Say in plain words what pydantic found wrong with one setting."""
    location = error["loc"]
    if not location:
        return  # contradictions, which are told when every single setting is known to be right
    path = ".".join(map(str, location[:2]))
    value = draft.values.get(path)
    match error["type"]:
        case "missing":
            if draft.faulty.isdisjoint({path, str(location[0])}):
                draft.problem(path, messages.missing(path))
        case "too_short" if value and isinstance(value, list):
            pass  # pydantic counts the entries that are left after it refused some, which are told already
        case "value_error":
            draft.problem(_entry(path, location), str(error["ctx"]["error"]))
        case _:
            words = messages.wrong(path, value, location[2:], in_file=path not in draft.sources)
            draft.problem(_entry(path, location), words)


def _entry(path: str, location: tuple[int | str, ...]) -> str:
    return path + "".join(f"[{index}]" for index in location[2:])
