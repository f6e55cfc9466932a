"""What is promised of each setting, in one row: the tests of the settings go through them all.

A new setting needs its row here, and no other list of settings in a test.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

#: The least and the greatest value taken, and the nearest ones that are not.
Bounds = tuple[str, str, str, str]

HOUR: Bounds = ("0.001", "3600", "0", "3600.5")
DAY: Bounds = ("0", "86400", "-0.1", "86401")
PROXY = "http://proxy.example:3128"
CLIENTS = json.dumps([{"name": "erp", "key": "made-up-key"}])
CLIENTS_SHOWN = [
    {
        "name": "erp",
        "keys": 1,
        "key_file": None,
        "certificate": None,
        "allowed_paths": None,
        "allowed_methods": None,
        "requests_per_second": None,
    }
]


def whole(least: int, greatest: int) -> Bounds:
    """Return the bounds of a whole number."""
    return str(least), str(greatest), str(least - 1), str(greatest + 1)


class Row(NamedTuple):
    """A setting.

    default: as the status page shows it, with nothing but the credentials set. sample: a text for
    its environment variable that means something else; None if that names a file which has to
    exist. shown: what the status page then shows, if not the text, number or "set". bounds: of a
    number. needs: what has to be set as well, by path. changes: it is taken up without a restart.
    """

    default: object
    sample: str | None = None
    shown: object = ...
    bounds: Bounds | None = None
    needs: Mapping[str, str] = {}
    changes: bool = False

    def expected(self) -> object:
        """Return what the status page shows for the sample."""
        if self.shown is not ... or self.sample is None:
            return self.shown
        if self.bounds is not None:
            return float(self.sample)
        return "set" if self.default in {"set", "not set"} else self.sample


ROWS: dict[str, Row] = {
    "listen.host": Row("127.0.0.1", sample="::1"),
    "listen.port": Row(8080, sample=" 81 ", bounds=whole(0, 65535)),
    "listen.unix_socket": Row(None, sample="run/a.sock"),
    "listen.allowed_hosts": Row(
        ["localhost", "127.0.0.1", "[::1]"], sample="proxy, [::1]", shown=["proxy", "[::1]"]
    ),
    "listen.client_key": Row("not set", sample="made-up-key", changes=True),
    "listen.clients": Row(None, sample=CLIENTS, shown=CLIENTS_SHOWN, changes=True),
    "listen.tls_certificate_file": Row(None),
    "listen.tls_key_file": Row(None),
    "listen.tls_client_ca_file": Row(None),
    "listen.answer_login": Row(False, sample="true", shown=True, changes=True),
    "admin.host": Row("127.0.0.1", sample="0.0.0.0"),
    "admin.port": Row(9090, sample="0", bounds=whole(0, 65535)),
    "upstream.url": Row("https://api.telenor.no", sample="http://localhost:81"),
    "upstream.allow_plaintext": Row(False, sample="true", shown=True),
    "upstream.ca_file": Row(None),
    "upstream.proxy_url": Row(None, sample=PROXY),
    "upstream.proxy_username": Row(
        "not set",
        sample="made-up-user",
        needs={"upstream.proxy_url": PROXY, "upstream.proxy_password": "made-up-password"},
        changes=True,
    ),
    "upstream.proxy_password": Row(
        "not set",
        sample="made-up-password",
        needs={"upstream.proxy_url": PROXY, "upstream.proxy_username": "made-up-user"},
        changes=True,
    ),
    "upstream.allowed_paths": Row(
        [
            "/corporate-mobile-subscriptions/",
            "/corporate-accounts/",
            "/corporate-agreements/",
            "/organizations/",
        ],
        sample='["/a/", "/b"]',
        shown=["/a/", "/b"],
    ),
    "upstream.connect_timeout_seconds": Row(5, sample="0.5", bounds=HOUR),
    "upstream.response_timeout_seconds": Row(60, sample="61", bounds=HOUR),
    "upstream.max_connections": Row(100, sample="7", bounds=whole(1, 1_000_000)),
    "upstream.idle_timeout_seconds": Row(30, sample="1e1", bounds=HOUR),
    "upstream.max_age_seconds": Row(300, sample="0", bounds=DAY),
    "upstream.keep_warm": Row(True, sample="no", shown=False),
    "upstream.transport": Row("fast", sample="asyncio"),
    "oauth.token_path": Row("/oauth/v2/token", sample="/oauth/token"),
    "oauth.logout_path": Row("/oauth/v2/logout", sample="/oauth/logout"),
    "oauth.client_id": Row("set", sample="other", changes=True),
    "oauth.client_secret": Row("set", sample="other", changes=True),
    "oauth.username": Row("set", sample="other", changes=True),
    "oauth.password": Row("set", sample="other", changes=True),
    "oauth.scope": Row(None, sample="read write", changes=True),
    "oauth.refresh_ahead_seconds": Row(300, sample="0", bounds=DAY),
    "oauth.wait_seconds": Row(10, sample="2.5", bounds=HOUR),
    "oauth.request_timeout_seconds": Row(10, sample="3", bounds=HOUR),
    "oauth.logout_on_shutdown": Row(False, sample="YES", shown=True),
    "limits.max_body_bytes": Row(10_485_760, sample="1000", bounds=whole(1, 1 << 40)),
    "limits.max_replay_bytes": Row(1048576, sample="0", bounds=whole(0, 1 << 30)),
    "limits.max_header_bytes": Row(32768, sample="1000", bounds=whole(256, 1 << 20)),
    "limits.max_header_fields": Row(128, sample="20", bounds=whole(1, 10_000)),
    "limits.max_target_bytes": Row(8192, sample="100", bounds=whole(1, 1 << 20)),
    "limits.max_connections": Row(1000, sample="5", bounds=whole(1, 1_000_000)),
    "limits.request_head_timeout_seconds": Row(15, sample="1", bounds=HOUR),
    "limits.idle_timeout_seconds": Row(75, sample="2", bounds=HOUR),
    "limits.body_timeout_seconds": Row(30, sample="3", bounds=HOUR),
    "pacing.requests_per_second": Row(
        None, sample="0.5", bounds=("0.001", "100000", "0", "100001")
    ),
    "pacing.max_wait_seconds": Row(10, sample="4", bounds=HOUR),
    "orders.store": Row(None, sample="orders.db"),
    "orders.store_password": Row(
        "not set", sample="made-up-password", needs={"orders.store": "redis://cache.example"}
    ),
    "orders.remember_seconds": Row(86400, sample="60", bounds=("0.001", "2678400", "0", "2678401")),
    "orders.guard_seconds": Row(0, sample="30", bounds=DAY, needs={"orders.store": "memory"}),
    "shutdown.delay_seconds": Row(0, sample="5", bounds=("0", "3600", "-1", "3601")),
    "shutdown.grace_seconds": Row(30, sample="6", bounds=HOUR),
    "log.level": Row("info", sample="debug", changes=True),
    "log.format": Row("auto", sample="console"),
    "telemetry.otlp_endpoint": Row(None, sample="http://127.0.0.1:4318"),
}
# The files that may hold a credential or key.
ROWS |= {
    f"{path}_file": Row(None, changes=row.changes)
    for path, row in ROWS.items()
    if row.default in ("set", "not set")
}
