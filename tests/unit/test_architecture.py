"""The structure of the package: who may import whom, and where secrets, clocks and chance are used.

Imports for types count, too: they make one module depend on another.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import proxy

PACKAGE: Final = Path(proxy.__file__).parent
MODULES: Final = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text("utf-8")
    )
    for path in PACKAGE.rglob("*.py")
}

#: For each room (a module or a package of `proxy`), the rooms that it may import: cli -> app,
#: check, demo -> {forward, tokens, admin, logs} -> network -> http1 -> {settings, records, clock,
#: hardening, secret, errors}.
ROOMS: Final = {
    "__init__": "",
    "__main__": "cli",
    "cli": (
        "app check demo errors hardening healthcheck inquiry network notify orders rotation "
        "sandbox settings standing"
    ),
    "demo": "app errors logs sandbox settings",
    "app": (
        "admin clients clock descriptors errors forward gauges logs network notify opening orders "
        "pacing records rotation secret settings signals starting telemetry tokens watching"
    ),
    "gauges": "admin clients forward logs orders tokens",
    "opening": "clock errors forward network settings starting",
    "check": "clock errors faults findings network orders settings threads tokens",
    "findings": "clock descriptors network settings starting tokens",
    "healthcheck": "inquiry settings",
    "standing": "inquiry settings",
    "inquiry": "settings",
    "forward": "clients clock errors faults http1 network orders pacing problems records settings",
    "orders": "clock errors inquiry problems secret settings",
    "clients": "clock errors pacing problems records secret settings",
    "pacing": "clock errors problems",
    "network": "clock descriptors errors faults http1 secret settings threads",
    "descriptors": "settings",
    "http1": "",
    "tokens": "clock errors faults http1 network secret",
    "admin": "clock errors faults problems records settings tokens",
    "rotation": "clock errors settings starting threads tokens watching",
    "starting": "settings",
    "watching": "clock",
    "notify": "clock tokens",
    "logs": "output problems records settings",
    "output": "",
    "telemetry": "clock errors records threads",
    "settings": "errors secret",
    "sandbox": "",
    "clock": "",
    "errors": "problems",
    "problems": "",
    "faults": "errors problems",
    "threads": "",
    "hardening": "",
    "records": "",
    "secret": "",
    "signals": "",
}
MAY_IMPORT: Final = {room: set(below.split()) for room, below in ROOMS.items()}

#: Decisions without sockets, clocks, threads or files: what of the standard library and others they
#: may use.
PURE: Final = {
    "http1.fields": set[str](),
    "http1.grammar": {"re"},
    "http1.chunked": {"re"},
    "forward.policy": {"re"},
    "forward.targets": {"re", "urllib"},
    "forward.rewrite": {"http", "orjson"},
    "orders.key": {"hashlib", "re"},
    "orders.states": {"enum"},
    "orders.showing": set[str](),
    "clients.login": set[str](),
    "clients.register": {"hashlib"},
    "admin.calls": {"dataclasses", "enum", "math"},
    "admin.headline": set[str](),
    "tokens.values": {"dataclasses", "enum"},
    "tokens.codes": {"re"},
    "tokens.coding": {"brotli", "zlib"},
    "tokens.diagnosis": {"dataclasses", "http", "itertools", "json", "re"},
    "tokens.timing": {"dataclasses", "datetime", "email", "math", "re"},
    "records": set[str](),
    "errors": set[str](),
    "problems": {"enum"},
    "faults": {"dataclasses", "errno", "os", "socket", "ssl"},
    "secret": {"hmac"},
}


def room(module: str) -> str:
    """Return the room that a module is in."""
    return module.partition(".")[0] or "__init__"


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports anywhere, as dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "absolute imports only"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def own(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports of our own, without the leading `proxy.`."""
    for name in imported(tree):
        first, _, rest = name.partition(".")
        if first == "proxy" and rest and not rest.startswith("__"):
            yield rest


def uses(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each attribute that a module uses (`time.monotonic`, `.reveal`), with its function."""

    def visit(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            inside = where
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inside = f"{where}.{child.name}".lstrip(".")
            if isinstance(child, ast.Attribute):
                owner = child.value.id if isinstance(child.value, ast.Name) else ""
                yield f"{owner}.{child.attr}", where
            yield from visit(child, inside)

    yield from visit(tree, "")


def where_used(*names: str) -> dict[str, set[str]]:
    """Return, by module, the functions that use one of these; `.name` is found on any value."""
    found = defaultdict(set)
    for module, tree in MODULES.items():
        for name, function in uses(tree):
            if name in names or f".{name.rpartition('.')[2]}" in names:
                found[module].add(function)
    return dict(found)


# --- imports -----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    """A new room needs a row in the table."""
    allowed = MAY_IMPORT[room(module)] | {room(module)}
    assert {room(name) for name in own(MODULES[module])} <= allowed


def test_the_rooms_form_no_circle() -> None:
    """The table has an order."""
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        free = [
            name for name, below in MAY_IMPORT.items() if name not in order and below <= set(order)
        ]
        assert free, f"a circle among {set(MAY_IMPORT) - set(order)}"
        order += free


def test_admin_knows_only_the_values_of_tokens() -> None:
    """Operators see the token's state and the codes, never its keeper."""
    known = {
        name for module, tree in MODULES.items() if room(module) == "admin" for name in own(tree)
    }
    others = {name for name in known if room(name) == "tokens"}
    assert {
        name for name in others if not name.startswith(("tokens.values.", "tokens.codes"))
    } == set()


def test_the_sandbox_is_imported_by_commands_only() -> None:
    """It has no place in a running proxy."""
    for module, tree in MODULES.items():
        if any(room(name) == "sandbox" for name in own(tree)):
            assert room(module) in {"cli", "demo", "sandbox"}


@pytest.mark.parametrize("module", PURE)
def test_decisions_are_pure(module: str) -> None:
    """No socket, clock, thread, file or event loop."""
    outside = {name.partition(".")[0] for name in imported(MODULES[module])}
    assert outside <= PURE[module] | {"__future__", "collections", "typing", "proxy"}


# --- what happens in few places ----------------------------------------------------------------


def test_only_the_command_line_exits() -> None:
    """All else raises or returns a status."""
    assert set(where_used("sys.exit", "os._exit", "os.abort")) <= {"__main__"}
    for module, tree in MODULES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not names & {"SystemExit", "exit", "quit"}, module


def test_the_clock_is_read_in_one_place() -> None:
    """Decisions use `Clock` or the event loop; the exceptions measure or show."""
    reading = {
        module: {name for name, _ in uses(tree) if name.startswith("time.")}
        for module, tree in MODULES.items()
    }
    assert {module: names for module, names in reading.items() if names} == {
        "clock": {"time.monotonic", "time.clock_gettime", "time.time"},
        "healthcheck": {"time.monotonic", "time.sleep"},  # a command without an event loop
        "logs": {"time.time", "time.gmtime", "time.strftime"},  # the time stamp of a line
        "standing": {"time.gmtime", "time.strftime"},  # shows a time that `/status` gave
        "output": {"time.monotonic", "time.time"},  # when lost lines are reported
        "forward.attempt": {"time.perf_counter"},  # durations for the log
        "forward.forwarder": {"time.perf_counter"},
        "forward.client": {"time.perf_counter"},
        "sandbox.state": {"time.monotonic"},  # the default of an argument
    }
    assert where_used("datetime.now", "datetime.utcnow", "datetime.today", "date.today") == {}
    assert all("from time import" not in ast.unparse(tree) for tree in MODULES.values())


def test_the_environment_is_read_in_one_place() -> None:
    """By the command line; hardening removes one variable."""
    found = where_used("os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv")
    assert set(found) == {"cli", "hardening"}


def test_chance_comes_in_from_outside() -> None:
    """Randomness that decides something is an argument."""
    found = where_used(
        "random.random",
        "random.uniform",
        "random.randint",
        "secrets.token_hex",
        "secrets.token_bytes",
        "os.urandom",
    )
    assert found == {
        "app": {"Proxy.__init__"},  # what client keys are hashed with
        "orders.opening": {"open_store"},  # what a process is called among those that use a store
        "forward.client": {"ClientService.__init__"},  # the prefix of request ids
        "sandbox.state": {"Sandbox.log_in"},  # made-up tokens
    }


def test_secrets_are_revealed_in_few_places() -> None:
    """To check, send, compare or hide a credential, key or token."""
    found = {
        f"{module}:{function}"
        for module, functions in where_used(".reveal").items()
        for function in functions
    }
    assert found == {
        "app:_secrets",  # what the log must never show
        "settings.catalogue:_text",  # whether they are visibly wrong
        "clients.register:Register.follow",  # the keys to compare with, hashed
        "findings:examples",  # whether the credentials can be right at all
        "forward.forwarder:Forwarder._credential_line",  # injects the token
        "network.egress:Login.field_value",  # the login at the company's proxy
        "orders.shared:SharedStore.__init__",  # the password of a Redis
        "tokens.endpoint:TokenEndpoint.fetch",  # logs in
        "tokens.endpoint:TokenEndpoint.logout",  # ends the token
        "tokens.values:AccessToken.reveal",
    }


def test_only_reveal_reveals() -> None:
    """Only `Secret` uses what it holds."""
    assert set(where_used("._text")) == {"secret"}


def test_tls_is_set_up_in_one_place() -> None:
    """In `network.tls`; a default context, which writes key logs, only in the sandbox."""

    def rooms(*names: str) -> set[str]:
        return {
            room(module)
            for module, tree in MODULES.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names
        }

    assert rooms("ssl.create_default_context", "ssl._create_unverified_context") == {"sandbox"}
    # The settings try whether a bundle can be read.
    assert rooms("ssl.SSLContext") == {"network", "settings"}


def test_only_commands_print() -> None:
    """Standard output belongs to the log."""
    commands = {"cli", "check", "demo", "healthcheck", "sandbox", "standing"}
    for module, tree in MODULES.items():
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert "print" not in called or room(module) in commands


def test_a_name_stands_for_one_class() -> None:
    """No two modules define public classes of one name."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert not {name: where for name, where in homes.items() if len(where) > 1}
