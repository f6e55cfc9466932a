"""Every setting: its name, default and bound, and how a YAML file and the environment become one frozen `Settings`.

The way of a setting:

1. `model` declares it in one of ten sections, with a kind (`kinds`, `values`) that knows what it
   takes.
2. `catalogue` derives its path and its environment variable, and knows what it contradicts.
3. `reading` takes it from the file (`files`), the environment or a secret file, and has it judged:
   alone by its kind, then with all others. What is wrong becomes one `ConfigError`.

Laws
1. All problems of a configuration are in one `ConfigError`, each with its path.
2. Nothing is guessed: an unknown name, a wrong type or a contradiction is refused. YAML is taken
   strictly, the environment is text and is parsed.
3. No message shows the value of a secret, not even when it stands in the wrong place of the file.
"""

from proxy.settings.catalogue import ENVIRONMENT_PREFIX, Settings
from proxy.settings.kinds import Origin
from proxy.settings.model import (
    AdminSettings,
    LimitsSettings,
    ListenSettings,
    LogSettings,
    OAuthSettings,
    OrdersSettings,
    PacingSettings,
    UpstreamSettings,
)
from proxy.settings.reading import WHERE_TO_FIND, Reading, examine, judge, load, load_admin
from proxy.settings.values import ClientSettings

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
    "UpstreamSettings",
    "examine",
    "judge",
    "load",
    "load_admin",
]
