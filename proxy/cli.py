"""The command line: commands -> exit status. Nothing else in the package exits.

Each command imports what it needs when it runs, so that `healthcheck`, which runs every few
seconds, starts fast.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import proxy
from proxy.errors import BAD_CONFIGURATION, ConfigError, ProxyError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.orders.command import OrdersCommand
    from proxy.settings import Settings

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 # no public name

OK: Final = 0
FAILED: Final = 1

STANDARD_OUTPUT: Final = 1  # the file descriptor
_PORTS: Final = range(65536)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _open_standard_output()
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = command_line(words[0] if words else "").parse_args(words)
    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        _print_problems(error)
        return BAD_CONFIGURATION
    except ProxyError as error:
        print(f"telenor-proxy: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader has closed the pipe (`check | head`). The flush at the exit must not fail
        # again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)
        return FAILED
    except _Stopped:
        return OK
    except KeyboardInterrupt:
        return FAILED


def _open_standard_output() -> None:
    """Discard what is written if the process was started with standard output closed (`>&-`)."""
    if sys.stdout is None:
        # Occupy descriptor 1, so that no socket or file gets it, and with it the output.
        descriptor = os.open(os.devnull, os.O_WRONLY)
        if descriptor != STANDARD_OUTPUT:
            os.dup2(descriptor, STANDARD_OUTPUT)
        sys.stdout = os.fdopen(STANDARD_OUTPUT, "w", encoding="utf-8")


def _print_problems(error: ConfigError) -> None:
    print("telenor-proxy: the configuration cannot be used:", file=sys.stderr)
    for problem in error.problems:
        print(f"  - {problem}", file=sys.stderr)


def command_line(command: str = "sandbox") -> argparse.ArgumentParser:
    """Build the parser; shtab makes a shell's completion of it.

    The sandbox's arguments are added only if `command` is the sandbox's, since they take longer to
    import than `healthcheck` runs.
    """
    parser = argparse.ArgumentParser(
        prog="telenor-proxy",
        description="Adds an access token to calls of Telenor's Mobile Subscription Order API.",
        epilog="Start with `telenor-proxy demo`: it needs no credentials.",
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        help="say the version, and what connections are made of here",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    _add(commands, "serve", "run the proxy", _serve)

    text = "try configuration and credentials, and say in words what is wrong"
    check = _add(commands, "check", text, _check)
    _flag(check, "--offline", "judge the configuration only: no network, no login")
    _flag(check, "--json", "print each finding as a JSON object on a line")
    _flag(check, "--settings", "print every setting, its value and where that comes from")

    text = "ask a running proxy whether it is ready"
    healthcheck = _add(commands, "healthcheck", text, _healthcheck)
    text = "wait so long for it to become ready"
    healthcheck.add_argument("--wait", type=_seconds, default=0.0, metavar="SECONDS", help=text)

    text = "ask a running proxy whether it works, and say what to do if not"
    _flag(_add(commands, "status", text, _status), "--json", "print JSON, for programs")

    orders = commands.add_parser("orders", help="see which orders are remembered, or forget one")
    actions = orders.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _add(actions, "list", "list the orders that are remembered", _list_orders)
    _flag(listing, "--unknown", "only those that have to be looked up")
    _flag(listing, "--json", "print one JSON object a line")
    text = "forget an order, so that it is sent when it comes again"
    forget = _add(actions, "forget", text, _forget_order)
    forget.add_argument("id", metavar="ID", help="what `orders list` shows first")

    text = "run a stand-in for api.telenor.no, to try things on"
    sandbox = commands.add_parser("sandbox", help=text)
    text = "look into a running sandbox, and switch its faults"
    control = commands.add_parser("sandbox-control", help=text)
    if command in {"sandbox", "sandbox-control"}:
        from proxy.sandbox import command as sandbox_command

        sandbox_command.add_arguments(sandbox)
        sandbox.set_defaults(command=sandbox_command.run)
        sandbox_command.add_control_arguments(control)
        control.set_defaults(command=sandbox_command.control)

    demo = commands.add_parser("demo", help="sandbox and proxy in one go, no credentials needed")
    text = "where the proxy listens (default: 8080, or a free port if it is in use; 0: a free port)"
    demo.add_argument("--port", type=_port, help=text)
    demo.set_defaults(command=_demo)
    return parser


def _add(
    commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a command that reads the configuration."""
    parser = commands.add_parser(name, help=text)
    named = os.environ.get("TELENOR_PROXY_CONFIG")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=Path(named) if named else None,
        help="YAML file (default: what TELENOR_PROXY_CONFIG names); without one the environment "
        "(TELENOR_PROXY_...) configures everything",
    )
    parser.set_defaults(command=run)
    return parser


def _flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    parser.add_argument(name, action="store_true", help=text)


class _Version(argparse.Action):
    """Prints the version and ends; what it runs on is imported only then."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        del namespace, values, option_string
        from proxy.network import transport

        foundations = ", ".join(transport.foundations().values())
        print(f"telenor-proxy {proxy.__version__}\n{foundations}")
        parser.exit()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # NaN is not
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return seconds


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) not in _PORTS:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {_PORTS[-1]}")
    return int(text)


def _load(arguments: argparse.Namespace) -> Settings:
    from proxy.settings import load

    return load(arguments.config, os.environ)


class _Stopped(KeyboardInterrupt):
    """A signal to stop before the proxy handles them; event loops let KeyboardInterrupt through."""


def _take_signals() -> None:
    """Handle signals until the proxy does: SIGTERM and SIGINT end with 0, SIGHUP changes nothing.

    The system's default would end the process with another status, which looks like a crash.
    """

    def stop(_number: int, _frame: object) -> None:
        raise _Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if sys.platform != "win32":
        # A function, and not SIG_IGN, which programs that are started would inherit.
        signal.signal(signal.SIGHUP, lambda *_: None)


def _serve(arguments: argparse.Namespace) -> int:
    _take_signals()
    from proxy.hardening import harden

    harden()
    settings = _load(arguments)
    from proxy import app
    from proxy.network import activation
    from proxy.notify import Notifier
    from proxy.rotation import Configuration

    try:
        handed = activation.handed_over(os.environ, os.getpid())
    except OSError:
        raise StartError(
            "What systemd hands over is no listening stream socket. "
            "Use ListenStream= in the .socket unit, without Accept=."
        ) from None
    configuration = Configuration(arguments.config, lambda: _load(arguments), os.environ)
    return app.run(settings, configuration, Notifier(os.environ, os.getpid()), handed)


def _check(arguments: argparse.Namespace) -> int:
    from proxy.hardening import harden

    harden()
    from proxy import check
    from proxy.settings import examine

    options = check.Options(
        offline=arguments.offline, as_json=arguments.json, settings=arguments.settings
    )
    try:
        reading = examine(arguments.config, os.environ, offline=options.offline)
    except ConfigError as error:
        if not options.as_json:
            raise
        check.tell_problems(error.problems)
        return BAD_CONFIGURATION
    return check.run(reading, os.environ, arguments.config, options)


def _healthcheck(arguments: argparse.Namespace) -> int:
    from proxy import healthcheck
    from proxy.settings import load_admin

    try:
        admin = load_admin(arguments.config, os.environ)
    except ConfigError as error:
        _print_problems(error)
        return FAILED  # a health check of Docker knows no other status than 0 and 1
    return healthcheck.run(admin, arguments.wait)


def _status(arguments: argparse.Namespace) -> int:
    from proxy import standing
    from proxy.settings import load_admin

    return standing.run(load_admin(arguments.config, os.environ), as_json=arguments.json)


def _list_orders(arguments: argparse.Namespace) -> int:
    for line in _orders(arguments).listing(unknown=arguments.unknown, as_json=arguments.json):
        print(line)
    return OK


def _forget_order(arguments: argparse.Namespace) -> int:
    for line in _orders(arguments).forget(arguments.id):
        print(line)
    return OK


def _orders(arguments: argparse.Namespace) -> OrdersCommand:
    from proxy.orders.command import OrdersCommand
    from proxy.settings import load_admin, load_orders

    source = (arguments.config, os.environ)
    return OrdersCommand(load_orders(*source), lambda: load_admin(*source))


def _demo(arguments: argparse.Namespace) -> int:
    from proxy import demo

    return demo.run(arguments.port)
