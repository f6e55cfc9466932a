"""The unit for systemd: it fits the proxy's settings, and the proxy runs in a real systemd."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from proxy.errors import BAD_CONFIGURATION
from proxy.network import activation
from proxy.settings import Settings, load
from tests.deploy import manager
from tests.deploy.manager import UNIT, Systemd
from tests.deploy.tools import needs, ran, until_async
from tests.e2e.process import ACCOUNTS, CREDENTIALS, Api, serving_api
from tests.ports import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

#: Of 100, for `systemd-analyze security`: what remains is the network and a socket to systemd.
MOST_EXPOSURE: Final = 11
PAGE: Final = (UNIT.parent / "README.md").read_text(encoding="utf-8")
SECRETS: Final = ("client_id", "client_secret", "username", "password")


def directives() -> dict[str, list[str]]:
    """Return what the unit says, each directive with all its values."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


SAID: Final = directives()


def number(name: str) -> int:
    """Return a directive that is a number."""
    (value,) = SAID[name]
    return int(value)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Read the settings as the service does, its credentials from where a test can put them."""
    for name in SECRETS:
        (tmp_path / name).write_text("made-up\n", encoding="utf-8")
    pairs = [line.replace("%d", str(tmp_path)).split("=", 1) for line in SAID["Environment"]]
    return load(None, dict(pairs))


# --- what it says ------------------------------------------------------------------------------


def test_each_secret_is_a_credential(settings: Settings, tmp_path: Path) -> None:
    """All four secrets are credentials of systemd's, and each setting names the right one."""
    expected = [f"{name}:/etc/telenor-proxy/{name}" for name in SECRETS]
    assert SAID["LoadCredential"] == expected
    files = [getattr(settings.oauth, f"{name}_file") for name in SECRETS]
    assert files == [tmp_path / name for name in SECRETS]


def test_times_and_limits_allow_what_the_settings_do(settings: Settings) -> None:
    """For the first login, for the drain, and for the connections' file descriptors."""
    shutdown = settings.shutdown
    assert number("TimeoutStartSec") > settings.oauth.request_timeout_seconds
    assert number("TimeoutStopSec") > shutdown.delay_seconds + shutdown.grace_seconds
    connections = settings.limits.max_connections + settings.upstream.max_connections
    assert number("LimitNOFILE") > connections


def test_a_bad_configuration_is_not_tried_again() -> None:
    """The exit status of a bad configuration is the one that systemd does not restart."""
    assert number("RestartPreventExitStatus") == BAD_CONFIGURATION
    assert SAID["Restart"] == ["on-failure"]


@pytest.fixture
def verifiable(tmp_path: Path) -> Path:
    """Copy the unit, with a command that there is on every machine."""
    copy = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    copy.write_text(re.sub(r"(?m)(?<=^ExecStart=)\S+", "/bin/true", text), encoding="utf-8")
    return copy


def verified(unit: Path) -> str:
    """Return what systemd finds wrong with a unit."""
    verdict = ran("systemd-analyze", "--no-pager", "verify", "--man=no", unit)
    return verdict.stdout + verdict.stderr + (str(verdict.returncode) if verdict.returncode else "")


def exposure(unit: Path) -> subprocess.CompletedProcess[str]:
    """Have systemd judge how exposed a unit is."""
    words = ("security", "--offline=true", f"--threshold={MOST_EXPOSURE}")
    return ran("systemd-analyze", "--no-pager", *words, unit)


@needs("systemd-analyze", "systemd")
def test_systemd_understands_it(verifiable: Path) -> None:
    """Nothing in the unit is unknown to systemd, or wrong."""
    assert verified(verifiable) == ""


@needs("systemd-analyze", "systemd")
def test_it_is_hardened(verifiable: Path) -> None:
    """By systemd's measure the service is hardly exposed; a directive less would show."""
    verdict = exposure(verifiable)
    assert verdict.returncode == 0, verdict.stdout
    assert f"rates its exposure {MOST_EXPOSURE / 10} of 10" in PAGE
    weakened = verifiable.read_text(encoding="utf-8").replace("MemoryDenyWriteExecute=yes\n", "")
    verifiable.write_text(weakened.replace("ProtectKernelModules=yes\n", ""), encoding="utf-8")
    assert exposure(verifiable).returncode


# --- in systemd --------------------------------------------------------------------------------


class Machine:
    """A systemd with the unit, configured for a stand-in of the API."""

    def __init__(self, systemd: Systemd, directory: Path) -> None:
        self.systemd = systemd
        self.log = directory / "log"
        self.port = free_port()
        service = [f"Standard{stream}=append:{self.log}" for stream in ("Output", "Error")]
        service += ["RestartSec=100ms", "WatchdogSec=1", "TimeoutAbortSec=1"]
        # A forbidden system call ends the process here, so that none goes unnoticed.
        service += ["SystemCallErrorNumber=kill"]
        systemd.change("test", {"Unit": ["DefaultDependencies=no"], "Service": service})

    def configure(self, url: str, *lines: str, password: str = CREDENTIALS.password) -> None:
        """Write credentials and settings where the unit reads them, and empty the log."""
        for name in SECRETS:
            value = password if name == "password" else getattr(CREDENTIALS, name)
            self.systemd.write(f"/etc/telenor-proxy/{name}", f"{value}\n")
        variables = [
            f"TELENOR_PROXY_UPSTREAM__URL={url}",
            f"TELENOR_PROXY_LISTEN__PORT={self.port}",
            f"TELENOR_PROXY_ADMIN__PORT={free_port()}",
            *lines,
        ]
        self.systemd.write("/etc/telenor-proxy/environment", "\n".join(variables))
        self.log.write_text("")

    def ask(self, verb: str) -> int:
        """Ask systemctl for something about the service; give its exit status."""
        return self.systemd.systemctl(verb, "telenor-proxy").returncode

    def knows(self, *names: str) -> list[str]:
        """Give what systemd knows of the service."""
        found = self.systemd.properties(*names)
        return [found[name] for name in names]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give the log events of that name."""
        lines = self.log.read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event["event"] == name]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot one."""
    reason = manager.why_not()
    if reason is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("systemd")
    try:
        systemd = Systemd(directory)
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no systemd of its own can be started here: {error}")
    try:
        yield Machine(systemd, directory)
    finally:
        systemd.close()


@pytest.fixture
async def api(machine: Machine) -> AsyncIterator[Api]:
    """Run the stand-in for the API; end the service with the test."""
    async with serving_api() as api:
        try:
            yield api
        finally:
            machine.ask("stop")
            machine.ask("reset-failed")


async def asked(machine: Machine) -> int:
    """Ask the API through the proxy; give the status."""
    url = f"http://127.0.0.1:{machine.port}{ACCOUNTS}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status


async def started(machine: Machine) -> int:
    """Start the service in a thread, since the stand-in runs here; return systemctl's status."""
    return await asyncio.to_thread(machine.ask, "start")


async def test_it_serves(machine: Machine, api: Api) -> None:
    """Once systemd says that it has started, a call succeeds, within all restrictions."""
    machine.configure(api.url)
    assert await started(machine) == 0
    assert api.counter("tokens_valid") == 1
    assert machine.knows("ActiveState", "StatusText") == ["active", "Ready."]
    assert await asked(machine) == 200
    (pid,) = machine.knows("MainPID")
    lines = machine.systemd.read(f"/proc/{pid}/status")
    status = dict(re.findall(r"(?m)^(\w+):\t(.*)$", lines))
    assert "0" not in status["Uid"].split()
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}


async def test_the_page_says_how_to_check(machine: Machine, api: Api) -> None:
    """The page's command runs `check` with credentials and settings of the service."""
    (command,) = re.findall(r"^```sh\n(\(\n[^`]* check\n\)\n)```$", PAGE, re.MULTILINE)
    machine.configure(api.url)
    good = await asyncio.to_thread(machine.systemd.inside, "sh", "-c", command)
    assert good.returncode == 0, good.stdout + good.stderr
    machine.configure(api.url, password="wrong")
    bad = await asyncio.to_thread(machine.systemd.inside, "sh", "-c", command)
    assert bad.returncode == 1
    assert "oauth.password" in bad.stdout + bad.stderr


async def test_an_order_system_waits_for_the_proxy(machine: Machine, api: Api) -> None:
    """The page's lines find the moved admin listener, and hold a unit until the proxy is ready."""
    (lines,) = re.findall(r"^```ini\n(\[Service\]\nEnvironmentFile[^`]*)```", PAGE, re.MULTILINE)
    unit = f"[Unit]\nDefaultDependencies=no\n{lines}Type=oneshot\nExecStart=true\n"
    path = "/run/systemd/system/order-system.service"
    machine.systemd.write(path, unit.replace("--wait 60", "--wait 1"))
    machine.systemd.systemctl("daemon-reload")
    machine.configure(api.url)
    early = await asyncio.to_thread(machine.systemd.systemctl, "start", "order-system")
    assert early.returncode != 0
    assert await started(machine) == 0
    assert "TELENOR_PROXY_ADMIN__PORT=" in machine.systemd.read("/etc/telenor-proxy/environment")
    ready = await asyncio.to_thread(machine.systemd.systemctl, "start", "order-system")
    assert ready.returncode == 0, ready.stderr


async def test_it_drains(machine: Machine, api: Api) -> None:
    """A stop is a clean end."""
    machine.configure(api.url)
    await started(machine)
    assert machine.ask("stop") == 0
    assert machine.events("shutdown.completed")
    assert machine.knows("ActiveState", "Result") == ["inactive", "success"]


async def test_a_reload_tries_the_credentials(machine: Machine, api: Api) -> None:
    """`systemctl reload` reads the configuration and logs in again, without a restart."""
    machine.configure(api.url)
    await started(machine)
    before = machine.knows("MainPID")
    assert machine.ask("reload") == 0
    await until_async(lambda: machine.events("configuration.reloaded"))
    await until_async(lambda: len(machine.events("token.renewed")) == 2)
    assert machine.knows("MainPID", "ActiveState") == [*before, "active"]


async def test_refused_credentials_do_not_hold_up_the_start(machine: Machine, api: Api) -> None:
    """With a wrong password the start ends, the status has the reason, nothing restarts."""
    machine.configure(api.url, password="another")
    assert await started(machine) == 0
    state, words, restarts = machine.knows("ActiveState", "StatusText", "NRestarts")
    assert (state, restarts) == ("active", "0")
    assert words.startswith("Not ready: ")
    assert "password" in words
    assert len(machine.events("token.renewal_failed")) == 1


async def test_a_bad_configuration_stays_down(machine: Machine, api: Api) -> None:
    """A configuration that cannot be used fails the start, once, and the log says why."""
    machine.configure(api.url, "TELENOR_PROXY_LISTEN__PROT=8080")
    assert await started(machine) != 0
    assert machine.knows("ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "78", "0"]
    assert "TELENOR_PROXY_LISTEN__PROT" in machine.log.read_text()


async def test_a_missing_credential_fails_the_start(machine: Machine, api: Api) -> None:
    """Without one of the four files systemd fails the start with its status 243."""
    machine.configure(api.url)
    machine.systemd.run("rm", "/etc/telenor-proxy/password")
    assert await started(machine) != 0
    assert machine.knows("ExecMainStatus") == ["243"]


async def test_a_process_that_stands_still_is_restarted(machine: Machine, api: Api) -> None:
    """Without signs of life systemd ends the process and starts another, which serves."""
    machine.configure(api.url)
    await started(machine)
    assert machine.systemd.systemctl("kill", "--signal=STOP", "telenor-proxy").returncode == 0
    names = ("NRestarts", "SubState", "StatusText")
    await until_async(lambda: machine.knows(*names) == ["1", "running", "Ready."])
    assert await asked(machine) == 200


async def test_a_new_password_is_taken_up_where_files_are_not_copied(
    machine: Machine, api: Api
) -> None:
    """With the page's drop-in the service reads the files themselves."""
    (drop_in,) = re.findall(r"(?ms)^```ini\n\[Service\]\n(DynamicUser.*?)^```$", PAGE)
    machine.configure(api.url, password="another")
    machine.systemd.run("useradd", "--system", "telenor-proxy")
    machine.systemd.run("chown", "--recursive", "telenor-proxy", "/etc/telenor-proxy")
    machine.systemd.change("page", {"Service": drop_in.splitlines()})
    try:
        assert await started(machine) == 0
        before = machine.knows("MainPID")
        assert machine.events("token.renewal_failed")
        machine.systemd.write("/etc/telenor-proxy/password", CREDENTIALS.password)
        await until_async(lambda: machine.events("token.renewed"))
        assert machine.knows("MainPID", "NRestarts") == [*before, "0"]
    finally:
        machine.ask("stop")
        machine.systemd.change("page", {})
        machine.systemd.run("userdel", "telenor-proxy")


# --- sockets that systemd opens ----------------------------------------------------------------


@needs("systemd-analyze", "systemd")
@pytest.mark.parametrize("name", ["telenor-proxy.socket", "telenor-proxy-admin.socket"])
def test_the_sockets_are_units(name: str, tmp_path: Path) -> None:
    """Systemd takes them as they are, together with a service of that name."""
    (tmp_path / name).write_text((UNIT.parent / name).read_text(encoding="utf-8"), encoding="utf-8")
    service = tmp_path / "telenor-proxy.service"
    service.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert verified(tmp_path / name) == ""


def test_the_sockets_have_the_names_that_the_proxy_knows() -> None:
    """The proxy distinguishes them by the names of their descriptors."""
    folder = UNIT.parent
    listener = (folder / "telenor-proxy.socket").read_text(encoding="utf-8")
    admin = (folder / "telenor-proxy-admin.socket").read_text(encoding="utf-8")
    assert "FileDescriptorName=listener\n" in listener
    assert f"FileDescriptorName={activation.ADMIN}\n" in admin
    assert "Accept=" not in listener + admin
