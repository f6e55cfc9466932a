"""How a YAML file, the environment and secret files become `Settings`, or one `ConfigError` with everything that is wrong.

A draft collects values and problems from the file, then the environment, then the secret files; the
model judges it last. Nothing here reads the process's own environment: it is handed in. No message
shows a secret, nor what stands in place of a secret's file name.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from proxy.errors import ConfigError
from proxy.settings import files
from proxy.settings.catalogue import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    PATH_OF_VARIABLE,
    SECRETS,
    SECTIONS,
    SETTINGS,
    Settings,
    contradictions,
    environment_name,
    split,
)
from proxy.settings.kinds import EntriesError, Kind, Section, Setting, UnlikeError
from proxy.settings.model import AdminSettings

# --- Reading ------------------------------------------------------------------------------------


S = TypeVar("S", bound=Section)

#: What a credential begins with while its file is missing, and that is forgiven; the rest is its
#: path.
STAND_IN: Final = "not-known-here"

#: What Kubernetes sets in every container when a Service's name begins with `telenor-proxy`
#: ("Environment variables" in its page on Services).
_SERVICE_LINK: Final = re.compile(
    r"(?!\w*__)[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)=.*"
    r"|(?!\w*__)[A-Z0-9_]+_PORT=(?:tcp|udp|sctp)://.*"
)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Make the settings from a YAML file (or none) and the environment, which wins.

    Reads the files that the settings name as well. Raises ConfigError with all problems at once,
    except that a file that is not readable YAML is the only problem told. The error holds nothing
    of what was read: neither as its cause nor as its context.
    """
    return judge(_document(path), environ)


class Reading(NamedTuple):
    """The settings, and what there is to say about them.

    origins: where each value comes from, by path: the file, a variable, a file of its own, or
    `default`. missing: whole sentences about the files that do not exist here, and that were to be
    forgiven.
    """

    settings: Settings
    origins: Mapping[str, str]
    missing: Sequence[str]


def examine(path: Path | None, environ: Mapping[str, str], *, offline: bool = False) -> Reading:
    """Make the settings as `load` does, and say where each comes from.

    offline: files that the settings name need not exist here; a credential that is missing for that
    reason is a stand-in.
    """
    draft = _Draft(_document(path), environ, offline=offline)
    settings = _judged(draft)
    of_file = "" if path is None else files.writable(path)
    origins = {
        name: draft.sources.get(name, of_file).removeprefix("read ").removeprefix("from ")
        if name in draft.values
        else "default"
        for name in SETTINGS
    }
    return Reading(settings, origins, draft.missing)


def judge(document: Mapping[Any, object], environ: Mapping[str, str]) -> Settings:
    """Make the settings as `load` does, from what a YAML file holds."""
    return _judged(_Draft(document, environ))


def load_admin(path: Path | None, environ: Mapping[str, str]) -> AdminSettings:
    """Read where the admin listener is, and nothing else: no secret is opened, and none is missed.

    Raises `ConfigError`.
    """
    draft = _Draft(_document(path), environ)
    draft.problems.clear()  # of other settings; who starts the proxy is told
    admin = _section(draft, "admin", AdminSettings)
    if draft.problems:
        raise ConfigError(draft.problems)
    return admin


def _document(path: Path | None) -> Mapping[Any, object]:
    document = None if path is None else files.read_yaml(path)
    if document is None:
        return {}
    if not isinstance(document, dict):
        sections = ", ".join(SECTIONS)
        words = f"must hold the sections {sections}, each with its settings indented below it."
        raise ConfigError([f"{'' if path is None else files.writable(path)}: {words}"])
    return document


class _Draft:
    """A configuration on its way to `Settings`."""

    def __init__(
        self, document: Mapping[Any, object], environ: Mapping[str, str], *, offline: bool = False
    ) -> None:
        self.offline = offline
        #: What is said of files that do not exist, if that is to be forgiven.
        self.missing: list[str] = []
        #: What was given, by path; never None.
        self.values: dict[str, object] = {}
        #: For values that do not stand in the file: where they came from.
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        #: The paths that have a problem, so that no second one is told about them.
        self.faulty: set[str] = set()
        _take_document(self, document)
        _take_environment(self, environ)

    def fault(self, path: str, fault: ValueError, words: str) -> None:
        """Note a problem, or a file that does not exist here."""
        if not (self.offline and isinstance(fault, files.MissingFileError)):
            self.problem(path, words)
            return
        self.missing.append(files.clean(f"{path}: {words}."))
        self.faulty |= {path, path.partition("[")[0]}

    def problem(self, path: str, words: str) -> None:
        source = self.sources.get(path.partition("[")[0])
        end = "" if words.endswith("?") else "."
        where = f"{path} ({source})" if source else path
        self.problems.append(files.clean(f"{where}: {words}{end}"))
        self.faulty |= {path, path.partition("[")[0]}

    def unknown(self, name: str, meant: list[str]) -> None:
        self.problem(name, _unknown(meant))


def _judged(draft: _Draft) -> Settings:
    _take_secret_files(draft)
    sections = {name: _section(draft, name, section) for name, section in SECTIONS.items()}
    settings = Settings(**sections)  # type: ignore[arg-type] # each its own
    for paths, words in contradictions(settings, draft.values.keys() - draft.faulty):
        if draft.faulty.isdisjoint(paths):
            draft.problem(paths[0], words)
    if draft.problems:
        raise ConfigError(draft.problems)
    return settings


def _take_document(draft: _Draft, document: Mapping[Any, object]) -> None:
    for section, content in document.items():
        if section in SETTINGS:
            draft.problem(
                section, "must be split at the dot: the section first, the rest indented below it"
            )
        elif section not in SECTIONS:
            draft.unknown(files.printable(section), _meant(files.printable(section), SECTIONS))
        elif isinstance(content, dict):
            _take_section(draft, section, content)
        elif content is not None:
            draft.problem(
                section, "must be a group of settings, each on a line of its own and indented"
            )


def _take_section(draft: _Draft, section: str, content: dict[object, object]) -> None:
    for key, value in content.items():
        path = f"{section}.{key}"
        if path in SETTINGS:
            if value is not None:
                draft.values[path] = value
        elif key in SECTIONS:
            draft.problem(
                path,
                "is not a setting, but a section of its own. Begin it at the margin, with its settings indented below it",
            )
        elif isinstance(key, str) and ":" in key:
            draft.problem(
                f"{section}.{files.printable(key.partition(':')[0])}",
                "needs a space after the colon",
            )
        else:
            path = f"{section}.{files.printable(key)}"
            draft.unknown(path, _meant(path))


def _take_environment(draft: _Draft, environ: Mapping[str, str]) -> None:
    given = {path: environ[name] for name, path in PATH_OF_VARIABLE.items() if name in environ}
    for path, text in given.items():
        if not text:
            draft.values.pop(path, None)
            continue
        partner = path.removesuffix("_file") if path.endswith("_file") else f"{path}_file"
        if not given.get(partner):
            draft.values.pop(partner, None)
        draft.values[path] = SETTINGS[path].kind.from_text(text)
        draft.sources[path] = f"from {environment_name(path)}"
    for name in sorted(environ):
        if (
            not name.upper().startswith(ENVIRONMENT_PREFIX)
            or name in PATH_OF_VARIABLE
            or name == CONFIG_VARIABLE
        ):
            continue
        if "KUBERNETES_SERVICE_HOST" in environ and _SERVICE_LINK.fullmatch(
            f"{name}={environ[name]}"
        ):
            continue
        dotted = name[len(ENVIRONMENT_PREFIX) :].replace("__", ".")
        draft.unknown(name, [environment_name(path) for path in _meant(dotted)])


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
                draft.fault(file_path, error, str(error))
            else:
                draft.sources[path] = f"read from {file_path}"
        if path not in draft.values:
            draft.faulty.add(path)
            if draft.offline:
                draft.values[path] = f"{STAND_IN}-{path}"
                draft.sources[path] = f"read from {file_path}"


def _section(draft: _Draft, name: str, section: type[S]) -> S:
    """Make a section of what is right in the draft; the rest is told, and has its default."""
    held = {
        key: _value(draft, f"{name}.{key}", setting) for key, setting in section.settings().items()
    }
    return section(**held)


def _value(draft: _Draft, path: str, setting: Setting) -> object:
    if path in draft.values:
        try:
            return setting.kind.take(draft.values[path])
        except EntriesError as error:
            faults = {f"{path}{place}": fault for place, fault in error.faults.items()}
            rest = setting.default if error.rest is None else error.rest
        except files.MissingFileError as error:
            # Where that is forgiven, what depends on whether the file is named still holds.
            given = Path(str(draft.values[path]))
            faults, rest = {path: error}, given if draft.offline else setting.default
        except ValueError as error:
            faults, rest = {path: error}, setting.default
        # A user who mistook `password_file` for `password` wrote a secret there.
        may_show = path.removesuffix("_file") not in SECRETS and not setting.kind.holds_secrets
        for place, fault in faults.items():
            words = _wrong(fault, may_show=may_show, in_file=path not in draft.sources)
            draft.fault(place, fault, words)
        return rest
    if setting.is_required and draft.faulty.isdisjoint({path, path.partition(".")[0]}):
        draft.problem(path, _missing(path))
    return setting.default


# --- The words for what is wrong: pure ---------------------------------------------------------


#: Where the user finds each credential; half of all support is about this (Telenor's developer
#: pages).
WHERE_TO_FIND: Final[Mapping[str, str]] = {
    "oauth.client_id": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
    "oauth.client_secret": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
    "oauth.username": "It is the machine user's name, which a company administrator finds in Min Bedrift, under APIs; "
    "not a Telenor ID (formerly Connect ID).",
    "oauth.password": "It is the machine user's password, generated in Min Bedrift and sent to a mobile phone.",
}

#: How alike a setting of another section must be to be proposed: `true` is not `store`.
_ALIKE: Final = 0.7
#: Characters. A longer value is not repeated in a message.
_LONGEST_SHOWN: Final = 40


def _unknown(meant: Sequence[str]) -> str:
    """Say that a name is none of the settings, and which ones were probably meant."""
    if not meant:
        return "is not a setting. Remove it, or look its name up in the table of settings (docs/reference.md)"
    return f"is not a setting. Did you mean {' or '.join(meant)}?"


def _missing(path: str) -> str:
    """Say in which ways a credential can be given, and where the user finds it."""
    ways = f"Set it in the file, as {environment_name(path)}, or name a file in {path}_file"
    return f"is missing. {ways}. {WHERE_TO_FIND[path].removesuffix('.')}"


def _wrong(fault: ValueError, *, may_show: bool, in_file: bool) -> str:
    """Say what should stand there, what stands there if that may be shown, and how to put it right.

    in_file: whether the value stands in the YAML file, where quotes decide what it is.
    """
    if not isinstance(fault, UnlikeError):
        return str(fault)
    words = f"must be {fault.kind.expected}{_shown(fault.value) if may_show else ''}"
    advice = _advice(fault.kind, fault.value, in_file=in_file)
    return f"{words}. {advice}" if advice else words


def _advice(kind: Kind[Any], value: object, *, in_file: bool) -> str:
    if not isinstance(value, str):
        return "" if kind.unquoted else "Put it in quotes"
    return kind.unquoted if in_file and kind.from_text(value) != value else ""


def _shown(value: object) -> str:
    if not isinstance(value, (bool, int, float, str)):
        return ""
    try:
        text = json.dumps(value)
    except ValueError:  # a number of more than 4300 digits
        return ""
    return f", not {text}" if len(text) <= _LONGEST_SHOWN else ""


def _meant(name: str, sections: Collection[str] = ()) -> list[str]:
    """Return the settings or sections that an unknown name was probably meant to be."""
    from difflib import get_close_matches  # noqa: PLC0415 # costs 1 ms, and only a misspelled name needs it

    plain = name.lower().replace("-", "_")
    if plain in SETTINGS:
        return [plain]
    section, _, key = plain.rpartition(".")
    if same_key := [path for path in SETTINGS if split(path)[1] == key]:
        return same_key
    if near := get_close_matches(plain, sections, n=1):
        return near
    everywhere = {split(path)[1]: path for path in SETTINGS}
    siblings = {split(path)[1]: path for path in SETTINGS if split(path)[0] == section}
    if near := get_close_matches(key, siblings, n=1):
        return [siblings[near[0]]]
    if not siblings and (near := get_close_matches(plain, SETTINGS, n=1)):
        return near
    return [everywhere[key] for key in get_close_matches(key, everywhere, n=1, cutoff=_ALIKE)]
