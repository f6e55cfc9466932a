"""`telenor-proxy demo`: sandbox and proxy in one process, on loopback, with made-up credentials.

Nothing of the user's configuration is read, nothing leaves this machine, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from typing import Final

import structlog

from proxy import logs
from proxy.app import Proxy, new_event_loop
from proxy.sandbox.command import DEFAULT_PORT as SANDBOX_PORT
from proxy.sandbox.control import PREFIX
from proxy.sandbox.server import running
from proxy.sandbox.settings import SandboxSettings
from proxy.sandbox.state import Sandbox
from proxy.settings import load

_HOST: Final = "127.0.0.1"
_ADMIN_PORT: Final = 9090
#: Seconds. So short that a renewal goes by in the log every ten: half of its life.
_TOKEN_LIFETIME: Final = 20
_ORDERS: Final = "/corporate-mobile-subscriptions/v2/orders"
_ACCOUNTS: Final = "/corporate-accounts/v2/accounts"
#: The order of Telenor's own example.
_ORDER: Final = {"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}
#: The fault that matters most: whether the order was placed cannot be seen from outside.
_FAULT: Final = {"name": "order_drop_after", "count": 1}

log = structlog.get_logger("proxy.demo")


def run(port: int) -> int:
    """Run both until Ctrl+C, on `port` if it is free; return the status. Raises `StartError`."""
    sandbox = Sandbox(settings=SandboxSettings(token_lifetime_seconds=_TOKEN_LIFETIME))
    # Ctrl+C is an exception until the proxy takes the signals.
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        return runner.run(_run(sandbox, port))
    return 0


async def _run(sandbox: Sandbox, wanted: int) -> int:
    async with running(sandbox, _HOST, free_port(SANDBOX_PORT), log=_log_call) as sandbox_url:
        ports = free_port(wanted), free_port(_ADMIN_PORT)
        settings = load(None, _environment(sandbox, sandbox_url, *ports))
        redactor = logs.Redactor()
        writer = logs.configure(settings.log, redactor)
        proxy = Proxy(settings, writer, redactor)
        sys.stdout.write(welcome(sandbox_url, settings.listen.port, settings.admin.port, wanted))
        sys.stdout.flush()
        try:
            return await proxy.run()
        finally:
            writer.write_out()


def _log_call(line: str) -> None:
    log.info("sandbox.answered", call=line)


def free_port(wanted: int) -> int:
    """Return that port, or any free one if it is in use (or 0)."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # On Windows it would share the port with the process that has it.
            if sys.platform != "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HOST, port))
            return int(probe.getsockname()[1])
    return wanted


def _environment(sandbox: Sandbox, sandbox_url: str, port: int, admin_port: int) -> dict[str, str]:
    """Write the settings as environment variables; the real ones are never read."""
    credentials = sandbox.credentials
    return {
        "TELENOR_PROXY_LISTEN__PORT": str(port),
        "TELENOR_PROXY_ADMIN__PORT": str(admin_port),
        "TELENOR_PROXY_UPSTREAM__URL": sandbox_url,
        "TELENOR_PROXY_OAUTH__CLIENT_ID": credentials.client_id,
        "TELENOR_PROXY_OAUTH__CLIENT_SECRET": credentials.client_secret,
        "TELENOR_PROXY_OAUTH__USERNAME": credentials.username,
        "TELENOR_PROXY_OAUTH__PASSWORD": credentials.password,
        "TELENOR_PROXY_LOG__FORMAT": "console",
    }


def welcome(sandbox_url: str, port: int, admin_port: int, wanted: int) -> str:
    """Say what runs where, and what to try."""
    listener, admin = f"http://{_HOST}:{port}", f"http://{_HOST}:{admin_port}"
    busy = f" (port {wanted} is in use by another program)" if wanted not in {0, port} else ""
    return f"""\
The proxy listens on {listener}{busy}. The API it calls is a sandbox: nothing leaves this machine.

Place an order. Your program sends no token; the proxy adds one:
  curl -i {listener}{_ORDERS} -H 'Content-Type: application/json' -d '{json.dumps(_ORDER)}'

Read something:
  curl -i {listener}{_ACCOUNTS}

End all access tokens, then place the order once more: the proxy logs in and sends it again:
  curl -X POST {sandbox_url}{PREFIX}revoke

Switch on a fault: the next order is placed, and its answer is lost. Place it and see the outcome:
  curl -X POST {sandbox_url}{PREFIX}faults -d '{json.dumps(_FAULT)}'
  All faults: telenor-proxy sandbox --help, and docs/sandbox.md.

Look:
  {sandbox_url}{PREFIX}orders  the orders that arrived
  {sandbox_url}{PREFIX}placed  how often each of them was placed
  {admin}/  the status page; also /status, /readiness and /metrics

A token lives for {_TOKEN_LIFETIME} s here, so you see `token.renewed` below. Ctrl+C ends it all.

"""
