"""`telenor-proxy sandbox` runs the stand-in; `telenor-proxy sandbox-control` drives one that runs.

Both return their exit status. The server and its libraries are imported by `run` only.
"""

import argparse
import asyncio
import contextlib
import errno
import functools
import http.client
import json
import re
import signal
import ssl
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from proxy.sandbox.control import PREFIX, is_loopback
from proxy.sandbox.faults import FAULTS, ActiveFault, make_fault
from proxy.sandbox.messages import UsageError
from proxy.sandbox.settings import SandboxSettings, read_setting
from proxy.sandbox.state import Sandbox

DEFAULT_HOST: Final = "127.0.0.1"
#: Next to the proxy's 8080.
DEFAULT_PORT: Final = 8081
#: Everything the control API does is instant; a sandbox that has not answered by then is not one.
_CONTROL_TIMEOUT_SECONDS: Final = 10
_NO_TRUSTME: Final = (
    "--tls makes a certificate with trustme, which is not installed. "
    "Install requirements/sandbox.txt (the extra `sandbox`), or leave --tls away."
)
#: Both commands write a fault and a setting in the same way.
_FAULT_SYNOPSIS: Final = "NAME[=VALUE][:COUNT]"
_SETTING_SYNOPSIS: Final = "NAME=VALUE"
_FAULT_ARGUMENT: Final = re.compile(
    r"(?P<name>[^=:]*)(?:=(?P<value>.*?))?(?::(?P<count>\d+))?", re.DOTALL
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sandbox`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n  ".join(["faults:", *FAULTS])
    parser.epilog += "\n  ".join(["\n\nsettings:", *SandboxSettings.__dataclass_fields__])
    text = "address to listen on (default: %(default)s, this host only)"
    parser.add_argument("--host", default=DEFAULT_HOST, help=text)
    text = "port to listen on (default: %(default)s; 0: any free one)"
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=text)
    text = "serve https, with a certificate made for this run"
    parser.add_argument("--tls", action="store_true", help=text)
    many = functools.partial(parser.add_argument, action="append", default=[])
    text = "start with this fault, for COUNT calls or until reset; can be given several times"
    many("--fault", type=_fault, metavar=_FAULT_SYNOPSIS, help=text)
    text = "start with this setting; can be given several times"
    many("--set", type=_setting, metavar=_SETTING_SYNOPSIS, help=text)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:  # noqa: PLR2004 # named in the message
        raise UsageError("the port must be a number from 0 to 65535")
    return int(text)


def _fault(text: str) -> ActiveFault:
    parts = _FAULT_ARGUMENT.fullmatch(text)
    if parts is None:
        raise UsageError("write NAME, NAME=VALUE, NAME:COUNT or NAME=VALUE:COUNT")
    count = parts["count"] and int(parts["count"])
    return make_fault(parts["name"], parts["value"], count)


def _setting(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    return name, read_setting(name, value)


def run(args: argparse.Namespace) -> int:
    """Run the sandbox until SIGINT or SIGTERM; 0 then, and 1 when it cannot listen."""
    sandbox = Sandbox(settings=SandboxSettings(**dict(args.set)))
    for fault in args.fault:
        sandbox.faults.set(fault)
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_serve(sandbox, args.host, args.port, tls=args.tls))
    return 0


async def _serve(sandbox: Sandbox, host: str, port: int, *, tls: bool) -> int:
    # aiohttp is slow to import: `run` pays for it, not every use of the command line.
    from proxy.sandbox.server import make_certificate, running  # noqa: PLC0415 # see above

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no signal handlers in its loop; there KeyboardInterrupt ends the run.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        context, ca_file = None, None
        if tls:
            try:
                context, authority = make_certificate(host)
            except ImportError:
                return _complain(_NO_TRUSTME)
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="telenor-sandbox-"))
            ca_file = Path(directory, "ca.pem")
            ca_file.write_bytes(authority)
        try:
            url = await stack.enter_async_context(running(sandbox, host, port, context, log=_log))
        except OSError as error:
            return _complain(_why_not_listening(host, port, error))
        _say(_welcome(sandbox, host, url, ca_file))
        await stop.wait()
    return 0


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        advice = "Stop the other program, or choose another port with --port."
        return f"port {port} on {host} is in use. {advice}"
    # asyncio from 3.13 on gives a sentence only, a failed look-up of a name has a text of its own.
    reason = f"cannot listen on {host} port {port} ({error.strerror or error})"
    return f"{reason}. Give an address of this machine with --host."


def _welcome(sandbox: Sandbox, host: str, url: str, ca_file: Path | None) -> str:
    credentials = sandbox.credentials
    lines = [
        f"The sandbox stands in for api.telenor.no on {url}",
        "It knows these made-up credentials only:",
        f"  client_id      {credentials.client_id}",
        f"  client_secret  {credentials.client_secret}",
        f"  username       {credentials.username}",
        f"  password       {credentials.password}",
        f"Orders it has accepted:  {url}{PREFIX}orders",
        f"How often each was placed: {url}{PREFIX}placed",
        f"State and counters:      {url}{PREFIX}state",
    ]
    if ca_file is not None:
        lines += [
            f"Its CA certificate, until it ends:  {ca_file}",
            f"For the proxy:  upstream.url: {url}  upstream.ca_file: {ca_file}",
        ]
    if not is_loopback(host):
        lines.append(
            "Any client that reaches this address can control the sandbox: there is no password."
        )
    return "\n".join([*lines, "Stop it with Ctrl-C."])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _log(line: str) -> None:
    # A closed pipe (`| head`) is no reason to fail a call.
    with contextlib.suppress(OSError):
        _say(line)


def _complain(text: str) -> int:
    """Return the exit status, too."""
    sys.stderr.write(f"telenor-proxy sandbox: {text}\n")
    return 1


def add_control_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sandbox-control`."""
    default, text = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}", "where the sandbox is"
    parser.add_argument("--url", type=_url, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument("--ca-file", help="the CA certificate of a sandbox that runs with --tls")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("state", help="settings, faults and counters")
    actions.add_parser("orders", help="the orders it has accepted")
    actions.add_parser("placed", help="how often each order was placed, by its content")
    text = "back to the start: settings, faults, orders, accounts and counters"
    actions.add_parser("reset", help=text)
    actions.add_parser("revoke", help="end all access tokens")
    fault = actions.add_parser("fault", help="switch a fault on, or off with a COUNT of 0")
    fault.add_argument("fault", type=_fault, metavar=_FAULT_SYNOPSIS, help=", ".join(FAULTS))
    setting = actions.add_parser("set", help="change a setting")
    text = ", ".join(SandboxSettings.__dataclass_fields__)
    setting.add_argument("setting", type=_setting, metavar=_SETTING_SYNOPSIS, help=text)


def _url(text: str) -> str:
    if urlsplit(text).scheme not in {"http", "https"}:
        raise UsageError("the URL must begin with http:// or https://")
    return text.rstrip("/")


def control(args: argparse.Namespace) -> int:
    """Do one thing to a running sandbox and print its answer; 1 if it refused or is away."""
    method, page, content = _control_request(args)
    url = urlsplit(args.url)
    connect: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
    try:
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=args.ca_file)
            connect = functools.partial(http.client.HTTPSConnection, context=context)
        with contextlib.closing(connect(url.netloc, timeout=_CONTROL_TIMEOUT_SECONDS)) as sandbox:
            sandbox.request(method, f"{url.path}{PREFIX}{page}", content)
            answer = sandbox.getresponse()
            body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        what = f"no sandbox answers on {args.url} ({error})"
        return _complain(f"{what}. Check that it runs, and --url and --ca-file.")
    if answer.status != http.HTTPStatus.OK:
        return _complain(_refusal(body))
    _say(body.decode(errors="replace").rstrip())
    return 0


def _control_request(args: argparse.Namespace) -> tuple[str, str, str | None]:
    """Return method, page and JSON content for the control API."""
    if args.action == "fault":
        name, value, count = args.fault.name, args.fault.value, args.fault.remaining
        return "POST", "faults", json.dumps({"name": name, "value": value, "count": count})
    if args.action == "set":
        return "PATCH", "settings", json.dumps(dict([args.setting]))
    return "POST" if args.action in {"reset", "revoke"} else "GET", args.action, None


def _refusal(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "what answers there is not a sandbox. Check --url."
