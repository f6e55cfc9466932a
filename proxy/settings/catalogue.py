"""What the model tells about each setting: its path, its environment variable, and whether it is secret.

Everything here is derived from `model`; a setting is declared there and nowhere else.
"""

from collections.abc import Mapping
from typing import Final

from proxy.settings.model import SECTIONS
from proxy.settings.section import Setting

ENVIRONMENT_PREFIX: Final = "TELENOR_PROXY_"
#: Names the file when the command line does not; the one variable with the prefix that is no setting.
CONFIG_VARIABLE: Final = "TELENOR_PROXY_CONFIG"

#: Every setting by its path, such as `listen.port`.
SETTINGS: Final[Mapping[str, Setting]] = {
    f"{name}.{key}": setting
    for name, section in SECTIONS.items()
    for key, setting in section.settings().items()
}
#: The paths of values that may come from a file, and are never shown.
SECRETS: Final = frozenset(
    f"{name}.{key}"
    for name, section in SECTIONS.items()
    for key in section.settings()
    if section.is_secret(key)
)


def split(path: str) -> tuple[str, str]:
    """Return the section and the key of a path."""
    section, _, key = path.partition(".")
    return section, key


def environment_name(path: str) -> str:
    """Return the environment variable of a setting: `TELENOR_PROXY_LISTEN__PORT` for `listen.port`."""
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


PATH_OF_VARIABLE: Final[Mapping[str, str]] = {environment_name(path): path for path in SETTINGS}
