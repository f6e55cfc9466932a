"""Every setting: its name, default and bound, and how a YAML file and the environment become one frozen `Settings`.

The way of a setting:

1. `model` declares it in one of ten sections, with a kind of `values` that knows what it takes
   (`kinds`, `origin`; `clients` for the list of them).
2. `catalogue` derives its path, its environment variable, its part of the schema and its row in the
   table of settings.
3. `reading` takes it from the file (`files`), the environment or a secret file, and has it judged:
   alone by its kind, then with all others (`consistency`). What is wrong becomes one `ConfigError`.

Laws
1. All problems of a configuration are found before one `ConfigError` tells them, each with its
   path.
2. Nothing is guessed: an unknown name, a wrong type or a contradiction is refused. YAML is taken
   strictly, the environment is text and is parsed.
3. No message ever shows the value of a secret, not even when it stands in the wrong place of the
   file.
"""

from proxy.settings.catalogue import ENVIRONMENT_PREFIX, Settings
from proxy.settings.clients import ClientSettings
from proxy.settings.model import (
    AdminSettings,
    LimitsSettings,
    ListenSettings,
    LogSettings,
    OAuthSettings,
    OrdersSettings,
    PacingSettings,
    ShutdownSettings,
    UpstreamSettings,
)
from proxy.settings.origin import Origin
from proxy.settings.reading import WHERE_TO_FIND, Reading, examine, judge, load, load_admin

__all__ = [
    "ENVIRONMENT_PREFIX",
    "WHERE_TO_FIND",
    "AdminSettings",
    "ClientSettings",
    "LimitsSettings",
    "ListenSettings",
    "LogSettings",
    "OAuthSettings",
    "OrdersSettings",
    "Origin",
    "PacingSettings",
    "Reading",
    "Settings",
    "ShutdownSettings",
    "UpstreamSettings",
    "examine",
    "judge",
    "load",
    "load_admin",
]
