"""How a YAML file, the environment and secret files become `Settings`, or one `ConfigError`.

A draft collects values and problems from the file, then the environment, then the secret files;
the kinds judge it last. The process's own environment is handed in. No message shows a secret, nor
what stands in place of a secret's file name.
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
from proxy.settings.kinds import EntriesError, Section, Setting, UnlikeError
from proxy.settings.model import AdminSettings, OrdersSettings

S = TypeVar("S", bound=Section)

#: What a credential begins with while its file is missing and need not exist; its path follows.
STAND_IN: Final = "not-known-here"

#: What Kubernetes sets in every container when a Service's name begins with `telenor-proxy`
#: ("Environment variables" in its page on Services).
_SERVICE_LINK: Final = re.compile(
    r"(?!\w*__)[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)=.*"
    r"|(?!\w*__)[A-Z0-9_]+_PORT=(?:tcp|udp|sctp)://.*"
)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Make the settings from a YAML file (or none) and the environment, which wins.

    Reads the files that the settings name as well. Raises ConfigError with all problems at once; a
    file that is no readable YAML is the only one. The error holds nothing of what was read, neither
    as its cause nor as its context.
    """
    return judge(_document(path), environ)


class Reading(NamedTuple):
    """The settings, and what there is to say about them.

    origins: where each value comes from, by path: the file, a variable, a file of its own, or
    `default`. missing: sentences about files that do not exist here and need not.
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
    settings = draft.judged()
    of_file = "" if path is None else files.writable(path)
    origins = {
        name: draft.sources.get(name, of_file) if name in draft.values else "default"
        for name in SETTINGS
    }
    return Reading(settings, origins, draft.missing)


def judge(document: Mapping[Any, object], environ: Mapping[str, str]) -> Settings:
    """Make the settings as `load` does, from what a YAML file holds."""
    return _Draft(document, environ).judged()


def load_admin(path: Path | None, environ: Mapping[str, str]) -> AdminSettings:
    """Read where the admin listener is, and no secret. Raises `ConfigError`."""
    draft = _Draft(_document(path), environ)
    draft.problems.clear()  # of other settings; `serve` reports them
    admin = draft.section("admin", AdminSettings)
    if draft.problems:
        raise ConfigError(draft.problems)
    return admin


def load_orders(path: Path | None, environ: Mapping[str, str]) -> OrdersSettings:
    """Read what names the store of orders, and no other secret. Raises `ConfigError`."""
    draft = _Draft(_document(path), environ)
    ours = ("orders", f"{ENVIRONMENT_PREFIX}ORDERS")
    draft.problems = [problem for problem in draft.problems if problem.startswith(ours)]
    draft.take_secret_files("orders.")
    orders = draft.section("orders", OrdersSettings)
    if draft.problems:
        raise ConfigError(draft.problems)
    return orders


def _document(path: Path | None) -> Mapping[Any, object]:
    document = None if path is None else files.read_yaml(path)
    if path is None or document is None:
        return {}
    if not isinstance(document, dict):
        sections = ", ".join(SECTIONS)
        words = f"must hold the sections {sections}, each with its settings indented below it."
        raise ConfigError([f"{files.writable(path)}: {words}"])
    return document


class _Draft:
    """A configuration on its way to `Settings`."""

    def __init__(
        self, document: Mapping[Any, object], environ: Mapping[str, str], *, offline: bool = False
    ) -> None:
        self.offline = offline
        #: What is said of files that do not exist and need not.
        self.missing: list[str] = []
        #: What was given, by path; never None.
        self.values: dict[str, object] = {}
        #: For values that do not stand in the file: where they came from.
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        #: The paths that have a problem, so that each has only one.
        self.faulty: set[str] = set()
        self._take_document(document)
        self._take_environment(environ)

    def judged(self) -> Settings:
        """Read the secret files and judge everything. Raises `ConfigError`."""
        self.take_secret_files()
        sections = {name: self.section(name, section) for name, section in SECTIONS.items()}
        settings = Settings(**sections)  # type: ignore[arg-type] # each its own
        for paths, words in contradictions(settings, self.values.keys() - self.faulty):
            if self.faulty.isdisjoint(paths):
                self._problem(paths[0], words)
        if self.problems:
            raise ConfigError(self.problems)
        return settings

    def section(self, name: str, section: type[S]) -> S:
        """Make a section; what is wrong in it becomes a problem, and has its default."""
        declared = section.settings().items()
        return section(**{key: self._value(f"{name}.{key}", setting) for key, setting in declared})

    def _problem(self, path: str, words: str, fault: ValueError | None = None) -> None:
        """Note a problem, or by its fault a file that does not exist here and need not."""
        setting = path.partition("[")[0]
        self.faulty |= {path, setting}
        if self.offline and isinstance(fault, files.MissingFileError):
            self.missing.append(files.writable(f"{path}: {words}."))
            return
        where = f"{path} (from {self.sources[setting]})" if setting in self.sources else path
        self.problems.append(files.writable(f"{where}: {words}{'' if words[-1] == '?' else '.'}"))

    def _take_document(self, document: Mapping[Any, object]) -> None:
        for section, content in document.items():
            if section in SETTINGS:
                words = "must be split at the dot: the section first, the rest indented below it"
                self._problem(section, words)
            elif section not in SECTIONS:
                name = files.printable(section)
                self._problem(name, _unknown(_meant(name, SECTIONS)))
            elif isinstance(content, dict):
                for key, value in content.items():
                    self._take_key(section, key, value)
            elif content is not None:
                words = "must be a group of settings, each on a line of its own and indented"
                self._problem(section, words)

    def _take_key(self, section: str, key: object, value: object) -> None:
        path = f"{section}.{key}"
        if path in SETTINGS:
            if value is not None:
                self.values[path] = value
        elif key in SECTIONS:
            self._problem(path, "is a section of its own. Begin it at the margin, not indented")
        elif isinstance(key, str) and ":" in key:
            path = f"{section}.{files.printable(key.partition(':')[0])}"
            self._problem(path, "needs a space after the colon")
        else:
            path = f"{section}.{files.printable(key)}"
            self._problem(path, _unknown(_meant(path)))

    def _take_environment(self, environ: Mapping[str, str]) -> None:
        given = {path: environ[name] for name, path in PATH_OF_VARIABLE.items() if name in environ}
        for path, text in given.items():
            if not text:
                self.values.pop(path, None)
                continue
            partner = path.removesuffix("_file") if path.endswith("_file") else f"{path}_file"
            if not given.get(partner):
                self.values.pop(partner, None)
            self.values[path] = SETTINGS[path].kind.from_text(text)
            self.sources[path] = environment_name(path)
        in_kubernetes = "KUBERNETES_SERVICE_HOST" in environ
        for name in sorted(environ.keys() - PATH_OF_VARIABLE.keys() - {CONFIG_VARIABLE}):
            is_link = in_kubernetes and _SERVICE_LINK.fullmatch(f"{name}={environ[name]}")
            if name.upper().startswith(ENVIRONMENT_PREFIX) and not is_link:
                meant = _meant(name[len(ENVIRONMENT_PREFIX) :].replace("__", "."))
                self._problem(name, _unknown([environment_name(path) for path in meant]))

    def take_secret_files(self, prefix: str = "") -> None:
        """Read the files of the secrets whose paths begin with the prefix."""
        given = {path for path in SECRETS if f"{path}_file" in self.values}
        for path in sorted(path for path in given if path.startswith(prefix)):
            file_path = f"{path}_file"
            name = self.values[file_path]
            if path in self.values:
                self._problem(path, f"is given together with {file_path}. Keep one of them")
                continue
            if isinstance(name, str) and name and "\0" not in name:
                try:
                    self.values[path] = files.read_secret(Path(name))
                except ValueError as error:
                    self._problem(file_path, str(error), error)
            if path not in self.values:
                self.faulty.add(path)
                if self.offline:
                    self.values[path] = f"{STAND_IN}-{path}"
            self.sources[path] = file_path

    def _value(self, path: str, setting: Setting) -> object:
        if path not in self.values:
            if setting.is_required and self.faulty.isdisjoint({path, split(path)[0]}):
                self._problem(path, _missing(path))
            return setting.default
        rest = setting.default
        try:
            return setting.kind.take(self.values[path])
        except EntriesError as error:
            faults = {f"{path}{place}": fault for place, fault in error.faults.items()}
            rest = rest if error.rest is None else error.rest
        except ValueError as error:
            faults = {path: error}
            if self.offline and isinstance(error, files.MissingFileError):
                # What depends on whether the file is named still holds.
                rest = Path(str(self.values[path]))
        # A user who mistook `password_file` for `password` wrote a secret there.
        may_show = path.removesuffix("_file") not in SECRETS and not setting.kind.holds_secrets
        for place, fault in faults.items():
            words = _wrong(fault, may_show=may_show, in_file=path not in self.sources)
            self._problem(place, words, fault)
        return rest


# --- The words for what is wrong ---------------------------------------------------------------

_PORTAL: Final = "You find it in Telenor's developer portal, on the app's page in the dashboard."
#: Where the user finds each credential (Telenor's developer pages).
WHERE_TO_FIND: Final[Mapping[str, str]] = {
    "oauth.client_id": _PORTAL,
    "oauth.client_secret": _PORTAL,
    "oauth.username": "It is the machine user's name, which a company administrator finds in"
    " Min Bedrift, under APIs; not a Telenor ID (formerly Connect ID).",
    "oauth.password": "It is the machine user's password, generated in Min Bedrift and sent to a"
    " mobile phone.",
}

#: How alike a name must be to be proposed, and one of another section: `true` is not `store`.
_ALIKE, _ALIKE_ELSEWHERE = 0.6, 0.7
#: Characters. A longer value is not repeated in a message.
_LONGEST_SHOWN: Final = 40


def _unknown(meant: Sequence[str]) -> str:
    """Say that a name is none of the settings, and which ones were probably meant."""
    if meant:
        return f"is not a setting. Did you mean {' or '.join(meant)}?"
    return "is not a setting. Remove it, or look its name up in docs/reference.md"


def _missing(path: str) -> str:
    """Say in which ways a credential can be given, and where the user finds it."""
    ways = f"Set it in the file, as {environment_name(path)}, or name a file in {path}_file"
    return f"is missing. {ways}. {WHERE_TO_FIND[path].removesuffix('.')}"


def _wrong(fault: ValueError, *, may_show: bool, in_file: bool) -> str:
    """Say what should stand there, what stands there if that may be shown, and what to do.

    in_file: whether the value stands in the YAML file, where quotes decide what it is.
    """
    if not isinstance(fault, UnlikeError):
        return str(fault)
    kind, value, advice = fault.kind, fault.value, ""
    if not isinstance(value, str):
        advice = "" if kind.unquoted else "Put it in quotes"
    elif in_file and kind.from_text(value) != value:
        advice = kind.unquoted
    words = f"must be {kind.expected}{_shown(value) if may_show else ''}"
    return f"{words}. {advice}" if advice else words


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
    from difflib import get_close_matches  # noqa: PLC0415 # 1 ms, for a misspelled name only

    plain = name.lower().replace("-", "_")
    section, _, key = plain.rpartition(".")
    if plain in SETTINGS:
        return [plain]
    if same_key := [path for path in SETTINGS if split(path)[1] == key]:
        return same_key
    everywhere = {split(path)[1]: path for path in SETTINGS}
    siblings = {split(path)[1]: path for path in SETTINGS if split(path)[0] == section}
    whole = {} if siblings else {path: path for path in SETTINGS}
    for given, known, cutoff in (
        (plain, {section: section for section in sections}, _ALIKE),
        (key, siblings, _ALIKE),
        (plain, whole, _ALIKE),
        (key, everywhere, _ALIKE_ELSEWHERE),
    ):
        if near := get_close_matches(given, known, n=1, cutoff=cutoff):
            return [known[near[0]]]
    return []
