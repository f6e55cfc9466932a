"""`telenor-proxy demo`: sandbox and proxy in one process, on loopback, with made-up credentials.

Nothing of the user's configuration is read, nothing leaves this machine, and nothing is kept.
"""

import asyncio
import contextlib
import json
import os
import shlex
import socket
import sys
from dataclasses import asdict
from typing import Final

import structlog

from proxy import logs
from proxy.app import Proxy, new_event_loop
from proxy.errors import StartError
from proxy.sandbox.command import DEFAULT_PORT as SANDBOX_PORT
from proxy.sandbox.control import PREFIX
from proxy.sandbox.server import running
from proxy.sandbox.settings import SandboxSettings
from proxy.sandbox.state import Sandbox
from proxy.settings import load

_HOST: Final = "127.0.0.1"
_PORT: Final = 8080
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


def run(port: int | None) -> int:
    """Run both until Ctrl+C, and return the status. port: see `choose_ports`. Raises StartError."""
    sandbox = Sandbox(settings=SandboxSettings(token_lifetime_seconds=_TOKEN_LIFETIME))
    # Ctrl+C is an exception until the proxy takes the signals.
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        return runner.run(_run(sandbox, port))
    return 0


async def _run(sandbox: Sandbox, given: int | None) -> int:
    port, admin_port, sandbox_port = choose_ports(given)

    def log_call(line: str) -> None:
        log.info("sandbox.answered", call=line)

    async with running(sandbox, _HOST, sandbox_port, log=log_call) as sandbox_url:
        settings = load(None, _environment(sandbox, sandbox_url, port, admin_port))
        redactor = logs.Redactor()
        writer = logs.configure(settings.log, redactor)
        proxy = Proxy(settings, writer, redactor)
        is_busy = given is None and port != _PORT
        sys.stdout.write(welcome(sandbox_url, port, admin_port, is_busy=is_busy))
        sys.stdout.flush()
        try:
            return await proxy.run()
        finally:
            writer.write_out()


def choose_ports(given: int | None) -> tuple[int, int, int]:
    """Return free ports for proxy, admin listener and sandbox: each the usual one, if it is free.

    given: the proxy's instead (0: any free one). Raises StartError if it cannot be used.
    """

    def hold(port: int) -> int:
        return int(held.enter_context(socket.create_server((_HOST, port))).getsockname()[1])

    def hold_usual(port: int) -> int:
        try:
            return hold(port)
        except OSError:
            return hold(0)

    with contextlib.ExitStack() as held:
        try:
            port = hold_usual(_PORT) if given is None else hold(given)
        except OSError as error:
            raise StartError(
                f"cannot listen on {_HOST} port {given} ({os.strerror(error.errno or 0)}). "
                "Give another port with --port, or leave it out: then a free one is taken."
            ) from None
        return port, hold_usual(_ADMIN_PORT), hold_usual(SANDBOX_PORT)


def _environment(sandbox: Sandbox, sandbox_url: str, port: int, admin_port: int) -> dict[str, str]:
    """Write the settings as environment variables; the real ones are never read."""
    credentials = asdict(sandbox.credentials).items()
    return {
        "TELENOR_PROXY_LISTEN__PORT": str(port),
        "TELENOR_PROXY_ADMIN__PORT": str(admin_port),
        "TELENOR_PROXY_UPSTREAM__URL": sandbox_url,
        "TELENOR_PROXY_LOG__FORMAT": "console",
        **{f"TELENOR_PROXY_OAUTH__{name.upper()}": value for name, value in credentials},
    }


def welcome(sandbox_url: str, port: int, admin_port: int, *, is_busy: bool) -> str:
    """Say what runs where, and what to try."""
    listener, admin = f"http://{_HOST}:{port}", f"http://{_HOST}:{admin_port}"
    busy = f" (port {_PORT} is in use by another program)" if is_busy else ""
    # The command `telenor-proxy` is not on the path of every installation.
    telenor_proxy = shlex.join([sys.executable, "-m", "proxy"])
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

See all faults, which docs/sandbox.md explains:
  {telenor_proxy} sandbox --help

Look:
  {sandbox_url}{PREFIX}orders  the orders that arrived
  {sandbox_url}{PREFIX}placed  how often each of them was placed
  {admin}/  the status page; also /status, /readiness and /metrics

A token lives for {_TOKEN_LIFETIME} s here, so you see `token.renewed` below. Ctrl+C ends it all.

"""
