"""Takes up a changed configuration without a restart: credentials, scope, clients, log level.

Owns which settings are in force. They are read anew at SIGHUP, and when the configuration file or a
file that it names changes.

Laws
1. A configuration that cannot be used changes nothing: the one in force stays in force.
2. What can change at run time does; the names of what cannot are logged. No value is.
3. A token in force still serves while new credentials are tried, whatever the outcome.
4. New credentials are tried at once, and so are all at SIGHUP; a file that was only touched is no
   reason to log in.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog

from proxy import starting
from proxy.clock import Clock
from proxy.errors import ConfigError
from proxy.settings import Settings, files
from proxy.settings.catalogue import CHANGEABLE, SECRETS, SETTINGS, split
from proxy.threads import in_daemon_thread
from proxy.tokens.values import Cause
from proxy.watching import watch

_CREDENTIALS: Final = frozenset(
    {"oauth.client_id", "oauth.client_secret", "oauth.username", "oauth.password", "oauth.scope"}
)
_KEYS: Final = frozenset({"listen.client_key", "listen.clients"})
_SECRETS: Final = (SECRETS & CHANGEABLE) | _KEYS
_AUTHORITIES: Final = "upstream.ca_file"

log = structlog.get_logger("proxy.rotation")


class Configuration(NamedTuple):
    """Where the settings come from: the YAML file, if any, and the environment.

    read: reads them anew; raises `ConfigError`. environ: the variables that name the company's
    proxy.
    """

    file: Path | None
    read: Callable[[], Settings]
    environ: Mapping[str, str] = MappingProxyType({})


@dataclass(eq=False)
class Rotation:
    """Keeps the settings in force up to date while `run` runs.

    follow: takes the new settings in force. renew: has the credentials tried at once, for a cause.
    observe: takes whether a configuration was accepted. done: called when a SIGHUP is followed.
    at_hangup: awaited first at SIGHUP. refused: why the configuration read last cannot be used.
    restart_needed: its settings that wait for a restart.
    """

    in_force: Settings
    configuration: Configuration
    clock: Clock
    follow: Callable[[Settings], None]
    renew: Callable[[Cause], None]
    observe: Callable[[bool], None]
    done: Callable[[], None] = lambda: None
    at_hangup: Callable[[], Awaitable[object]] | None = None

    def __post_init__(self) -> None:
        self.refused: list[str] = []
        self.restart_needed: list[str] = []
        self._authorities = _fingerprint(self.in_force.upstream.ca_file)
        self._read = self.in_force, self._authorities  # as read last, if that could be used
        self._hung_up = asyncio.Event()
        self._looking = asyncio.Lock()

    def on_hangup(self) -> None:
        """Read everything anew, and try the credentials."""
        self._hung_up.set()

    def files(self) -> set[Path]:
        """Return the files whose change matters."""
        read, _ = self._read
        named = {self.configuration.file, read.upstream.ca_file, *read.secret_files()}
        return {path for path in named if path is not None and files.is_lasting(path)}

    async def run(self) -> None:
        """Wait for signals and changes; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_hangups())
            if self.files():
                tasks.create_task(watch(self.files, self.look, self.clock))

    async def _follow_hangups(self) -> None:
        while await self._hung_up.wait():
            self._hung_up.clear()
            if self.at_hangup is not None:
                await self.at_hangup()
            await self.look(asked=True)
            self.done()

    async def look(self, *, asked: bool = False) -> bool:
        """Read the configuration and take up what changed; return whether it could be used.

        asked: an operator asked for it, so log and renew even without a change.
        """
        async with self._looking:
            try:
                found = await in_daemon_thread(self._read_anew)
            except ConfigError as error:
                self._refuse(error.problems, asked=asked)
                return False
            except Exception:  # a mistake of ours; the proxy goes on with what is in force
                log.exception(
                    "configuration.unread",
                    detail="The proxy made a mistake while it read the configuration anew; the one "
                    "in force stays. Report it to the project, with this line.",
                )
                return False
            if found != self._read or asked or self.refused:
                changed = self._take(*found)
                if not _CREDENTIALS.isdisjoint(changed):
                    self.renew("credentials_changed")
                elif asked:
                    self.renew("asked")
            return True

    def _read_anew(self) -> tuple[Settings, str | None]:
        settings = self.configuration.read()
        return settings, _fingerprint(settings.upstream.ca_file)

    def _refuse(self, problems: list[str], *, asked: bool) -> None:
        if asked or problems != self.refused:
            self.refused = problems
            self.observe(False)
            log.error(
                "configuration.refused",
                problems=problems,
                detail="The changed configuration cannot be used; the one in force stays. Correct "
                "what `problems` says.",
            )

    def _take(self, found: Settings, authorities: str | None) -> list[str]:
        """Put in force what can change at run time; return the paths of what did."""
        self.refused = []
        self._read = found, authorities
        every = differences(self.in_force, found)
        changed = [path for path in every if path in CHANGEABLE]
        fixed = [path for path in every if path not in CHANGEABLE]
        if authorities != self._authorities and _AUTHORITIES not in fixed:
            fixed.append(_AUTHORITIES)
        self.restart_needed = fixed
        if changed:
            self.in_force = merged(self.in_force, found, changed)
            self.follow(self.in_force)
        if not _SECRETS.isdisjoint(changed):
            starting.warn_of_doubts(self.in_force)
        if not _KEYS.isdisjoint(changed):
            starting.warn_if_open(self.in_force.listen)
        self.observe(True)
        log.info("configuration.reloaded", changed=changed)
        if fixed:
            log.warning(
                "configuration.restart_needed",
                settings=fixed,
                detail=f"Still in force as before: {', '.join(fixed)}. Restart the proxy to take "
                "the change up.",
            )
        return changed


def differences(old: Settings, new: Settings) -> list[str]:
    """Return the paths of the settings that are not the same."""
    return [path for path in SETTINGS if old.value_of(path) != new.value_of(path)]


def merged(old: Settings, new: Settings, paths: Collection[str]) -> Settings:
    """Return the old settings with these of the new ones."""
    sections: dict[str, dict[str, object]] = {}
    for section, key in map(split, paths):
        sections.setdefault(section, {})[key] = getattr(getattr(new, section), key)
    changed = {name: replace(getattr(old, name), **taken) for name, taken in sections.items()}
    return replace(old, **changed)


def _fingerprint(path: Path | None) -> str | None:
    """Return a hash of the file's content; None without a file."""
    try:
        return None if path is None else hashlib.sha256(files.read_pem(path)).hexdigest()
    except ValueError:
        return None
