"""Every setting, and how a YAML file and the environment become one frozen `Settings`.

`model` declares the settings in ten sections, each with a kind (`kinds`, `values`). `catalogue`
derives paths and environment variables, and knows the contradictions. `reading` takes the values
from the file (`files`), the environment or a secret file, and has them judged.

Laws
1. All problems of a configuration are in one `ConfigError`, each with its path.
2. An unknown name, a wrong type or a contradiction is refused. YAML is taken strictly, the
   environment is text and is parsed.
3. No message shows the value of a secret, not even when it stands in the wrong place of the file.
"""

from proxy.settings.catalogue import ENVIRONMENT_PREFIX, Settings
from proxy.settings.kinds import Origin
from proxy.settings.model import (
    AdminSettings,
    ListenSettings,
    LogSettings,
    OAuthSettings,
    OrdersSettings,
    PacingSettings,
    UpstreamSettings,
)
from proxy.settings.reading import (
    WHERE_TO_FIND,
    Reading,
    examine,
    judge,
    load,
    load_admin,
    load_orders,
)
from proxy.settings.values import ClientSettings

__all__ = [
    "ENVIRONMENT_PREFIX",
    "WHERE_TO_FIND",
    "AdminSettings",
    "ClientSettings",
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
    "load_orders",
]
