"""What the other systems have in their configuration, for mitmproxy.

Which paths pass, the credential, the request id, a line of JSON.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from mitmproxy import http  # type: ignore[import-not-found] # it is in an environment of its own

PREFIXES = ("/corporate-mobile-subscriptions/", "/corporate-accounts/")


class Injector:
    """Does to each flow what a sidecar does."""

    def __init__(self) -> None:
        self._log = Path("@DIRECTORY@/access.log").open("a", encoding="utf-8")  # noqa: SIM115 # for the life of the process

    def requestheaders(self, flow: http.HTTPFlow) -> None:  # the library's type is not here
        """Let it pass, or refuse it."""
        if not flow.request.path.startswith(PREFIXES):
            flow.response = http.Response.make(403)
            return
        flow.request.headers["Authorization"] = "Bearer @TOKEN@"
        flow.request.headers.setdefault("X-Request-Id", uuid.uuid4().hex)

    def responseheaders(self, flow: http.HTTPFlow) -> None:  # as above
        """Return the id, where there is one."""
        if "X-Request-Id" in flow.request.headers:
            flow.response.headers["X-Request-Id"] = flow.request.headers["X-Request-Id"]

    def response(self, flow: http.HTTPFlow) -> None:  # as above
        """Write the line."""
        request, response = flow.request, flow.response
        line = {
            "timestamp": request.timestamp_start,
            "request_id": request.headers.get("X-Request-Id"),
            "method": request.method,
            "path": request.path.partition("?")[0],
            "status": response.status_code,
            "duration_s": response.timestamp_end - request.timestamp_start
            if response.timestamp_end
            else None,
            "bytes_out": len(response.raw_content or b""),
        }
        self._log.write(f"{json.dumps(line)}\n")


addons = [Injector()]
